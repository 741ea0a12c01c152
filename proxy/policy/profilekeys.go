// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// profileKeys are the keys of a profile's file. Its egress and permit are read
// as a policy's are.
var profileKeys = keys[Profile]{
	"name": func(r *reader, n *node, p *Profile) (err error) {
		p.Name, err = r.word(n, "name")
		return err
	},
	"aliases": func(r *reader, n *node, p *Profile) (err error) {
		p.Aliases, err = readSome(r, n, "aliases", func(r *reader, n *node) (string, error) { return r.word(n, "aliases") })
		return err
	},
	"credentials": func(r *reader, n *node, p *Profile) (err error) {
		p.Rule = r.rule(n)
		p.Credentials, err = readSome(r, n, "credentials", (*reader).providerName)
		return err
	},
	"placeholders": readPlaceholders,
	"omit": func(r *reader, n *node, p *Profile) (err error) {
		p.Omit, err = readSome(r, n, "omit", func(r *reader, n *node) (string, error) {
			if n.kind != isText || !isVariable(n.text) {
				return "", r.fail(n, "omit: want a variable's name")
			}
			return n.text, nil
		})
		return err
	},
	"egress": func(r *reader, n *node, p *Profile) error {
		var f File
		err := readEgressList(r, n, &f)
		p.Egress = append(p.Egress, f.Egress...)
		return err
	},
	"companions": func(r *reader, n *node, p *Profile) error {
		hosts, err := readSome(r, n, "companions", (*reader).readOnly)
		p.Egress = append(p.Egress, hosts...)
		return err
	},
	"telemetry": func(r *reader, n *node, p *Profile) (err error) {
		p.Telemetry, err = readSome(r, n, "telemetry", (*reader).reported)
		return err
	},
	"tools": func(r *reader, n *node, p *Profile) (err error) {
		p.Tools, err = readSome(r, n, "tools", func(r *reader, n *node) (string, error) { return r.word(n, "tools") })
		return err
	},
	"registry": func(r *reader, n *node, p *Profile) (err error) {
		p.Registry, err = r.registry(n)
		return err
	},
	"state": func(r *reader, n *node, p *Profile) (err error) {
		p.State, err = readSome(r, n, "state", (*reader).statePath)
		return err
	},
	"files": readStateFiles,
	"env":   readVariables,
	"permit": func(r *reader, n *node, p *Profile) error {
		var f File
		err := readPermit(r, n, &f)
		p.Permit = f.Permit
		return err
	},
	"notice":  func(r *reader, n *node, p *Profile) (err error) { p.Notice, err = r.str(n, "notice"); return err },
	"refuse":  func(r *reader, n *node, p *Profile) (err error) { p.Refuse, err = r.str(n, "refuse"); return err },
	"instead": func(r *reader, n *node, p *Profile) (err error) { p.Instead, err = r.str(n, "instead"); return err },
}

func (r *reader) providerName(n *node) (string, error) {
	name, err := r.word(n, "credentials")
	if err == nil {
		if _, known := ProviderNamed(name); !known {
			err = r.fail(n, "credentials: no provider of that name")
		}
	}
	return name, err
}

// readOnly reads a host that takes reads over https.
func (r *reader) readOnly(n *node) (Egress, error) {
	host, err := r.pattern(n)
	rule := r.rule(n)
	return Egress{Host: host, Port: portHTTPS, Protocol: HTTPS, Allow: reads(rule), Rule: rule}, err
}

// reported reads a host that takes reports, too. The agent's own credentials
// stay out: many such services file what comes with somebody's key under that
// somebody.
func (r *reader) reported(n *node) (Egress, error) {
	e, err := r.readOnly(n)
	e.Allow = append(e.Allow, Allow{Method: "POST", Glob: anyPath, Rule: e.Rule})
	return e, err
}

// statePath reads a place below the home. The home itself and what is outside
// are nobody's state.
func (r *reader) statePath(n *node) (string, error) {
	text, err := r.path(n)
	if err == nil && !strings.HasPrefix(text, "~/") {
		err = r.fail(n, "want a path below ~/")
	}
	return text, err
}

func readStateFiles(r *reader, n *node, p *Profile) error {
	return r.pairs(n, "files", func(key, value *node) error {
		place, err := r.statePath(key)
		if err != nil {
			return err
		}
		content, err := r.str(value, "files")
		p.Files = append(p.Files, StateFile{Path: place, Content: content + "\n"})
		return err
	})
}

func readVariables(r *reader, n *node, p *Profile) error {
	return r.pairs(n, "env", func(key, value *node) error {
		if !isVariable(key.text) {
			return r.fail(key, "env: want a variable's name")
		}
		text, err := r.str(value, "env")
		p.Env = append(p.Env, Variable{Name: key.text, Value: text})
		return err
	})
}

func readPlaceholders(r *reader, n *node, p *Profile) error {
	return r.pairs(n, "placeholders", func(key, value *node) error {
		if !isVariable(key.text) {
			return r.fail(key, "placeholders: want a variable's name")
		}
		name, err := r.providerName(value)
		p.Placeholders = append(p.Placeholders, Variable{Name: key.text, Value: name})
		return err
	})
}

// pairs reads a mapping whose keys are free.
func (r *reader) pairs(n *node, where string, read func(key, value *node) error) error {
	if n.kind != isMap {
		return r.fail(n, "%s: want a mapping, found %s", where, n.kind)
	}
	for _, e := range n.entries {
		e.key.kind = isText
		if err := read(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

// parseProfile reads one file, as strictly as a policy.
func parseProfile(file string, data []byte) (Profile, error) {
	r := &reader{file: file, data: data, unsupported: unsupported}
	var p Profile
	root, err := r.tree()
	if err != nil {
		return p, err
	}
	given, err := readMap(r, root, "", profileKeys, &p)
	if err != nil {
		return p, err
	}
	p.Rule = cmp.Or(p.Rule, r.rule(root))
	switch {
	case given["name"] == nil:
		return p, r.fail(root, "name: missing")
	case p.Name+".yaml" != path.Base(file):
		return p, r.fail(given["name"], "name: want the file's own, %q", strings.TrimSuffix(path.Base(file), ".yaml"))
	case (given["refuse"] == nil) != (given["instead"] == nil):
		return p, r.fail(root, "refuse: says why, and instead what to do; one needs the other")
	case given["refuse"] != nil && slices.ContainsFunc([]string{"credentials", "egress", "state", "tools", "registry"}, func(k string) bool { return given[k] != nil }):
		return p, r.fail(given["refuse"], "refuse: has no use for what a session would get")
	}
	return p, nil
}
