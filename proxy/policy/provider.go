// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// Provider is what is known of a service's credentials: data, in providers/.
type Provider struct {
	Name      string   // also the file's
	Hosts     []string // none where each customer has its own: they come with the secret, or the policy
	Env       []string
	Positions []Position // all that its clients use
	Outbound  *Position  // nil: upstream wants it where it came
	Anonymous Anonymous
	Challenge string    // WWW-Authenticate of its 401; "" follows from the positions
	Templates []string  // placeholders; the first that fits the length counts
	Captures  []Capture // nil: the general ones of OAuth 2.0
	Login     *Login    // not nil: its value may be a login that is kept alive
	Claims    []string  // of a value that is a JWT, which the placeholder shows as they are
}

//go:embed providers/*.yaml
var providerFiles embed.FS

var providers = sync.OnceValue(func() []Provider {
	all := embedded(providerFiles, "providers", parseProvider)
	slices.SortFunc(all, func(a, b Provider) int { return cmp.Compare(a.Name, b.Name) })
	return all
})

// embedded parses every file of a folder in the binary, by name. One that does
// not parse is a broken binary; tests read them all.
func embedded[T any](files embed.FS, folder string, parse func(file string, data []byte) (T, error)) []T {
	entries, err := files.ReadDir(folder)
	if err != nil {
		panic("policy: embedded " + folder + ": " + err.Error())
	}
	var out []T
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		data, err := files.ReadFile(name)
		if err != nil {
			panic("policy: embedded " + folder + ": " + err.Error())
		}
		one, err := parse(name, data)
		if err != nil {
			panic("policy: embedded " + folder + ": " + err.Error())
		}
		out = append(out, one)
	}
	return out
}

// Providers returns all of them, by name. The elements' slices are shared and
// not to be changed.
func Providers() []Provider { return slices.Clone(providers()) }

// ProviderNamed returns the provider of that name.
func ProviderNamed(name string) (Provider, bool) {
	if !isWord(name) {
		return Provider{}, false
	}
	file := path.Join("providers", name+".yaml") // the file is called so: a test holds that
	data, err := providerFiles.ReadFile(file)
	if err != nil {
		return Provider{}, false
	}
	p, err := parseProvider(file, data)
	if err != nil {
		panic("policy: embedded providers: " + err.Error())
	}
	return p, true
}

func providerNames() string {
	var names []string
	for _, p := range providers() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// providerKeys are the keys of a provider's file. Its env, hosts, inject,
// outbound and anonymous are read as a policy's are.
var providerKeys = keys[Provider]{
	"name": func(r *reader, n *node, p *Provider) (err error) {
		p.Name, err = r.word(n, "name")
		return err
	},
	"hosts":     asDeclared("hosts", func(p *Provider, d *Declared) { p.Hosts = d.Hosts }),
	"env":       asDeclared("env", func(p *Provider, d *Declared) { p.Env = d.Env }),
	"inject":    asDeclared("inject", func(p *Provider, d *Declared) { p.Positions = d.Positions }),
	"outbound":  asDeclared("outbound", func(p *Provider, d *Declared) { p.Outbound = d.Outbound }),
	"captures":  asDeclared("captures", func(p *Provider, d *Declared) { p.Captures = d.Captures }),
	"anonymous": asDeclared("anonymous", func(p *Provider, d *Declared) { p.Anonymous = d.Anonymous }),
	"login": func(r *reader, n *node, p *Provider) (err error) {
		p.Login, err = r.login(n)
		return err
	},
	"claims": func(r *reader, n *node, p *Provider) (err error) {
		p.Claims, err = readSome(r, n, "claims", func(r *reader, n *node) (string, error) { return r.str(n, "claims") })
		return err
	},
	"challenge": func(r *reader, n *node, p *Provider) (err error) {
		p.Challenge, err = r.str(n, "challenge")
		return err
	},
	"placeholder": func(r *reader, n *node, p *Provider) (err error) {
		p.Templates, err = readSome(r, n, "placeholder", (*reader).template)
		return err
	},
}

// asDeclared reads a provider's key with what reads the policy's.
func asDeclared(key string, keep func(*Provider, *Declared)) func(*reader, *node, *Provider) error {
	return func(r *reader, n *node, p *Provider) error {
		var d Declared
		if err := credentialKeys[key](r, n, &d); err != nil {
			return err
		}
		keep(p, &d)
		return nil
	}
}

func (r *reader) template(n *node) (string, error) {
	text, err := r.str(n, "placeholder")
	if err != nil {
		return "", err
	}
	if _, err := parseTemplate(text); err != nil {
		return "", r.fail(n, "placeholder: %v", err)
	}
	return text, nil
}

// parseProvider reads one file, as strictly as a policy.
func parseProvider(file string, data []byte) (Provider, error) {
	r := &reader{file: file, data: data, unsupported: unsupported}
	p := Provider{Anonymous: AnonymousDeny}
	root, err := r.tree()
	if err != nil {
		return p, err
	}
	given, err := readMap(r, root, "", providerKeys, &p)
	if err != nil {
		return p, err
	}
	for _, key := range []string{"name", "env", "inject", "placeholder"} {
		if key == "placeholder" && (Credential{Positions: p.Positions}).makesKeys() {
			continue // a key's is another key
		}
		if given[key] == nil {
			return p, r.fail(root, "%s: missing", key)
		}
	}
	if p.Name+".yaml" != path.Base(file) {
		return p, r.fail(given["name"], "name: want the file's own, %q", strings.TrimSuffix(path.Base(file), ".yaml"))
	}
	return p, nil
}

// challenge is the WWW-Authenticate of a 401 to a client that may use
// positions, so that it sends the credential next (RFC 9110, section 11.6.1):
// git does nothing before it is asked for Basic.
func challenge(name string, positions []Position) string {
	has := func(kind PositionKind) bool {
		return slices.ContainsFunc(positions, func(p Position) bool { return p.Kind == kind })
	}
	switch {
	case has(PositionBasic):
		return fmt.Sprintf("Basic realm=%q", name) // a name has no character to escape
	case has(PositionBearer):
		return "Bearer"
	}
	return ""
}
