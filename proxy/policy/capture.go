// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Capture is an endpoint whose answers hold fresh credentials: token endpoints,
// STS, installation tokens. The agent gets placeholders for them.
type Capture struct {
	Path    string           `json:"path"`            // a glob, matched in any case and whatever the method
	Hosts   []string         `json:"hosts,omitempty"` // none: those of the credential
	Secrets []CapturedSecret `json:"secrets"`
}

// CapturedSecret is one field of such answers, and where the value that stood
// in it may be used.
type CapturedSecret struct {
	Field     string     `json:"field"`           // its name, at any depth and in any case
	Hosts     []string   `json:"hosts,omitempty"` // none: those of the credential
	Positions []Position `json:"positions,omitzero"`
	// Endpoint: it goes in the body of requests to the capture's own path, under
	// the field's name, and nowhere else.
	Endpoint  bool     `json:"endpoint,omitempty"`
	Templates []string `json:"templates,omitempty"` // none: as a credential without a provider
	Claims    []string `json:"claims,omitempty"`    // of a JWT, that the placeholder shows as they are
}

// oauth2 is what every credential without captures of its own has: where APIs
// have their OAuth 2.0 token and device endpoints (RFC 6749, RFC 8628), and
// what those answer.
var oauth2 = func() []Capture {
	secrets := []CapturedSecret{
		{Field: "access_token"},
		{Field: "id_token"},
		{Field: "refresh_token", Endpoint: true},
		{Field: "device_code", Endpoint: true},
	}
	var all []Capture
	for _, path := range []string{
		"/oauth/token", "/**/oauth/token", "/oauth2/token", "/**/oauth2/token", "/oauth2/v*/token", "/**/oauth2/v*/token",
		"/oauth/access_token", "/**/oauth/access_token", "/oauth2/access_token", "/**/oauth2/access_token",
		"/oauth/authorize_device", "/**/oauth/authorize_device", "/oauth/device/code", "/**/oauth/device/code", "/**/device/code",
		"/**/protocol/openid-connect/token", "/connect/token", "/**/connect/token",
	} {
		all = append(all, Capture{Path: path, Secrets: secrets})
	}
	return all
}()

var captureKeys = keys[Capture]{
	"path": func(r *reader, n *node, c *Capture) (err error) {
		if c.Path, err = r.str(n, "captures.path"); err != nil {
			return err
		}
		if _, err := compileGlob(c.Path); err != nil {
			return r.fail(n, "captures.path: %v", err)
		}
		return nil
	},
	"hosts": func(r *reader, n *node, c *Capture) (err error) {
		c.Hosts, err = readSome(r, n, "captures.hosts", (*reader).pattern)
		return err
	},
	"secrets": func(r *reader, n *node, c *Capture) (err error) {
		c.Secrets, err = readSome(r, n, "captures.secrets", (*reader).capturedSecret)
		return err
	},
}

var capturedSecretKeys = keys[CapturedSecret]{
	"field": func(r *reader, n *node, s *CapturedSecret) (err error) {
		if s.Field, err = r.str(n, "captures.secrets.field"); err == nil && !isWord(s.Field) {
			err = r.fail(n, "captures.secrets.field: want the field's name alone; it is found at any depth")
		}
		return err
	},
	"hosts": func(r *reader, n *node, s *CapturedSecret) (err error) {
		s.Hosts, err = readSome(r, n, "captures.secrets.hosts", (*reader).pattern)
		return err
	},
	"inject": func(r *reader, n *node, s *CapturedSecret) (err error) {
		s.Positions, err = readList(r, n, "captures.secrets.inject", (*reader).position)
		if err == nil && s.Positions == nil {
			s.Positions = []Position{}
		}
		return err
	},
	"endpoint": func(r *reader, n *node, s *CapturedSecret) error {
		_, err := r.choice(n, "captures.secrets.endpoint", "only")
		s.Endpoint = err == nil
		return err
	},
	"placeholder": func(r *reader, n *node, s *CapturedSecret) (err error) {
		s.Templates, err = readSome(r, n, "captures.secrets.placeholder", (*reader).template)
		return err
	},
	"claims": func(r *reader, n *node, s *CapturedSecret) (err error) {
		s.Claims, err = readSome(r, n, "captures.secrets.claims", func(r *reader, n *node) (string, error) { return r.str(n, "captures.secrets.claims") })
		return err
	},
}

func (r *reader) capture(n *node) (c Capture, err error) {
	given, err := readMap(r, n, "captures", captureKeys, &c)
	if err == nil && (given["path"] == nil || given["secrets"] == nil) {
		err = r.fail(n, "captures: want path and secrets")
	}
	return c, err
}

func (r *reader) capturedSecret(n *node) (s CapturedSecret, err error) {
	given, err := readMap(r, n, "captures.secrets", capturedSecretKeys, &s)
	switch {
	case err != nil:
	case given["field"] == nil:
		err = r.fail(n, "captures.secrets: want field")
	case s.Endpoint && (given["inject"] != nil || given["hosts"] != nil):
		err = r.fail(n, "captures.secrets: endpoint: only leaves no other place: inject and hosts have no use")
	}
	return s, err
}

func readCaptures(r *reader, n *node, d *Declared) (err error) {
	d.Captures, err = readList(r, n, "captures", (*reader).capture)
	return err
}

// captures are those of a credential, the general ones where it has none. A
// list that is empty, and not missing, is none.
func (c *Credential) captures() []Capture {
	if c.Captures == nil {
		return oauth2
	}
	return c.Captures
}

// common are the hosts that both cover: what wanted names, as far as own allows
// it; all of own where nothing is wanted.
func common(wanted, own []string) (out []string) {
	if len(wanted) == 0 {
		return slices.Clone(own)
	}
	for _, w := range wanted {
		for _, o := range own {
			switch {
			case covers(o, w):
				out = append(out, w)
			case covers(w, o):
				out = append(out, o)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// minted is the credential that values of one field are used as: it has no
// value before an answer had one.
func (c *Credential) minted(at Capture, s CapturedSecret, number int) *Credential {
	m := &Credential{
		Name: fmt.Sprintf("%s.%s", c.Name, strings.ToLower(s.Field)), Source: c.Source, Provider: c.Provider,
		Hosts: common(s.Hosts, c.Hosts), Positions: s.Positions, Allow: c.Allow, Anonymous: c.Anonymous,
		Challenge: c.Challenge, Rule: c.Rule, Minted: true, Endpoint: s.Endpoint, Claims: s.Claims,
		Placeholder: Shape{Mode: ShapeProvider, Templates: append(slices.Clone(s.Templates), plainTemplate)},
	}
	if number > 1 {
		m.Name = fmt.Sprintf("%s-%d", m.Name, number)
	}
	switch {
	case s.Endpoint:
		m.Hosts = common(at.Hosts, c.Hosts)
		m.Positions = []Position{{Kind: PositionForm, Name: s.Field}, {Kind: PositionJSON, Name: "/" + s.Field}}
	case s.Positions == nil:
		m.Positions = []Position{{Kind: PositionBearer}}
	}
	return m
}
