// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"strings"
)

// registryKeys are the keys of a profile's registry.
var registryKeys = keys[Registry]{
	"ask": func(r *reader, n *node, g *Registry) (err error) {
		g.Ask, err = readSome(r, n, "registry.ask", func(r *reader, n *node) (string, error) { return r.str(n, "registry.ask") })
		return err
	},
	"after": func(r *reader, n *node, g *Registry) (err error) {
		g.After, err = r.str(n, "registry.after")
		return err
	},
	"files": func(r *reader, n *node, g *Registry) (err error) {
		g.Files, err = readSome(r, n, "registry.files", func(r *reader, n *node) (string, error) {
			text, err := r.path(n)
			if err == nil && !path.IsAbs(text) && !strings.HasPrefix(text, "~/") {
				err = r.fail(n, "registry.files: a project's configuration is the agent's to write")
			}
			return text, err
		})
		return err
	},
	"replaces": func(r *reader, n *node, g *Registry) (err error) {
		g.Replaces, err = readSome(r, n, "registry.replaces", (*reader).settingPattern)
		return err
	},
	"adds": func(r *reader, n *node, g *Registry) (err error) {
		g.Adds, err = readSome(r, n, "registry.adds", (*reader).settingPattern)
		return err
	},
}

func (r *reader) settingPattern(n *node) (string, error) {
	text, err := r.str(n, "registry")
	if err == nil {
		if _, bad := path.Match(text, ""); bad != nil {
			err = r.fail(n, "registry: not a pattern")
		}
	}
	return text, err
}

func (r *reader) registry(n *node) (*Registry, error) {
	g := Registry{Rule: r.rule(n)}
	given, err := readMap(r, n, "registry", registryKeys, &g)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"files", "replaces"} {
		if given[key] == nil {
			return nil, r.fail(n, "registry.%s: missing", key)
		}
	}
	return &g, nil
}
