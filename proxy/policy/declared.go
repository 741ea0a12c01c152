// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"strings"
)

// credentialKeys are the keys of one entry of credentials.
var credentialKeys = keys[Declared]{
	"from": readSource,
	"provider": func(r *reader, n *node, d *Declared) (err error) {
		d.Provider, err = r.word(n, "credentials.provider")
		return err
	},
	"env": func(r *reader, n *node, d *Declared) (err error) {
		d.Env, err = readList(r, n, "credentials.env", (*reader).variable)
		return err
	},
	"files": func(r *reader, n *node, d *Declared) (err error) {
		d.Files, err = readSome(r, n, "credentials.files", (*reader).maskedFile)
		return err
	},
	"hosts": func(r *reader, n *node, d *Declared) (err error) {
		d.Hosts, err = readSome(r, n, "credentials.hosts", (*reader).pattern)
		return err
	},
	"inject": func(r *reader, n *node, d *Declared) (err error) {
		d.Positions, err = readSome(r, n, "credentials.inject", (*reader).position)
		return err
	},
	"outbound": readOutbound,
	"allow": func(r *reader, n *node, d *Declared) (err error) {
		d.Allow, err = readList(r, n, "credentials.allow", (*reader).allow)
		return err
	},
	"anonymous": func(r *reader, n *node, d *Declared) error {
		text, err := r.choice(n, "credentials.anonymous", string(AnonymousDeny), string(AnonymousRead))
		d.Anonymous = Anonymous(text)
		return err
	},
	"placeholder": readShape,
	"captures":    readCaptures,
	"grant":       readGrant,
	"lifetime":    readLifetime,
}

var maskedFileKeys = keys[MaskedFile]{
	"path": func(r *reader, n *node, m *MaskedFile) (err error) {
		m.Path, err = r.path(n)
		return err
	},
	"format": func(r *reader, n *node, m *MaskedFile) (err error) {
		m.Format, err = r.choice(n, "credentials.files.format", maskedFormats...)
		return err
	},
	"field": func(r *reader, n *node, m *MaskedFile) (err error) {
		if m.Field, err = r.str(n, "credentials.files.field"); err == nil {
			_, err = r.field(n)
		}
		return err
	},
}

func (r *reader) maskedFile(n *node) (m MaskedFile, err error) {
	given, err := readMap(r, n, "credentials.files", maskedFileKeys, &m)
	if err == nil && len(given) != len(maskedFileKeys) {
		err = r.fail(n, "credentials.files: want path, format and field")
	}
	return m, err
}

func readCredentials(r *reader, n *node, f *File) error {
	if n.kind != isMap {
		return r.fail(n, "credentials: want a mapping, found %s", n.kind)
	}
	for _, e := range n.entries {
		e.key.kind = isText
		name, err := r.word(e.key, "credentials")
		if err != nil {
			return err
		}
		d := Declared{Name: name, Rule: r.rule(e.key)}
		if _, err := readMap(r, e.value, "credentials", credentialKeys, &d); err != nil {
			return err
		}
		if d.Lifetime > 0 && strings.HasPrefix(d.From, "env:") {
			return r.fail(e.key, "credentials.lifetime: a variable of the environment has no later value")
		}
		f.Credentials = append(f.Credentials, d)
	}
	return nil
}

// readSource checks the form of a source. What it leads to is found out by
// whoever opens it.
func readSource(r *reader, n *node, d *Declared) (err error) {
	d.From, err = r.source(n, "credentials.from")
	return err
}

// source reads a reference to where a secret comes from.
func (r *reader) source(n *node, where string) (string, error) {
	text, err := r.str(n, where)
	if err != nil {
		return "", err
	}
	form, rest, _ := strings.Cut(text, ":")
	var ok bool
	switch form {
	case "store", "systemd":
		ok = isWord(rest) && rest == strings.ToLower(rest)
	case "file":
		ok = path.IsAbs(rest) && path.Clean(rest) == rest
	case "exec":
		program, _, _ := strings.Cut(rest, " ")
		ok = path.IsAbs(strings.Trim(program, `'"`))
	case "env":
		ok = isVariable(rest)
	case "secret-service", "keyring":
		ok = strings.Contains(strings.Trim(rest, "/"), "/")
	}
	if !ok {
		return "", r.fail(n, "%s: want store:NAME, file:/ABSOLUTE, env:NAME, exec:/ABSOLUTE ARGUMENTS, secret-service:SERVICE/ACCOUNT, keyring:TYPE/DESCRIPTION or systemd:NAME", where)
	}
	return text, r.supported(n, "credentials.from: "+form)
}

// variable reads the name of an environment variable.
func (r *reader) variable(n *node) (string, error) {
	text, err := r.str(n, "credentials.env")
	if err == nil && !isVariable(text) {
		err = r.fail(n, "credentials.env: want a variable's name: letters, digits and underscores, at most 255")
	}
	return text, err
}

func isVariable(text string) bool {
	return text != "" && len(text) <= 255 && (text[0] < '0' || text[0] > '9') &&
		strings.Trim(text, alphabets["base62"]+"_") == ""
}

// allow reads one line of an allow list.
func (r *reader) allow(n *node) (Allow, error) {
	text, err := r.str(n, "allow")
	if err != nil {
		return Allow{}, err
	}
	method, pattern, err := splitAllow(text)
	if err != nil {
		return Allow{}, r.fail(n, "allow: %v", err)
	}
	return Allow{Method: method, Glob: pattern, Rule: r.rule(n)}, nil
}

func readShape(r *reader, n *node, d *Declared) error {
	text, err := r.str(n, "credentials.placeholder")
	switch {
	case err != nil:
		return err
	case text == ShapeProvider:
		return nil // the default
	case text == ShapeName:
		d.Placeholder = &Shape{Mode: ShapeName}
		return nil
	}
	if _, err := parseTemplate(text); err != nil {
		return r.fail(n, "credentials.placeholder: want shape, name or a template such as \"key-{hex:32}\"; %v", err)
	}
	d.Placeholder = &Shape{Mode: ShapeTemplate, Templates: []string{text}}
	return nil
}
