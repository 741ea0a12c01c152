// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Login is how the login of a subscription is kept: an access token that ends
// soon, and a refresh token that the proxy alone trades in.
type Login struct {
	Host   string // where it is refreshed, on port 443
	Path   string
	Form   bool   // the request is a form, else JSON
	Client string // the public id of the tool at the service
	Scope  string // of the request; "" for none
	// Callback is the port of the loopback on which the tool awaits the browser at
	// the end of a login; 0 where it is not always the same.
	Callback uint16
	Instead  string // provider of the API key that the tool's users have instead of a login
	File     LoginFile
}

// LoginFile is where the tool itself keeps the login: JSON, and RFC 6901
// pointers into it.
type LoginFile struct {
	Path    string // below ~/
	Access  string
	Refresh string
	ID      string // "" where there is no id token
	Expires string // "" where the access token itself says when it ends
}

var loginKeys = keys[Login]{
	"refresh": func(r *reader, n *node, l *Login) (err error) {
		l.Host, l.Path, err = r.endpointURL(n, "login.refresh")
		return err
	},
	"body": func(r *reader, n *node, l *Login) error {
		text, err := r.choice(n, "login.body", "json", "form")
		l.Form = text == "form"
		return err
	},
	"client": func(r *reader, n *node, l *Login) (err error) { l.Client, err = r.str(n, "login.client"); return err },
	"scope":  func(r *reader, n *node, l *Login) (err error) { l.Scope, err = r.str(n, "login.scope"); return err },
	"instead": func(r *reader, n *node, l *Login) (err error) {
		l.Instead, err = r.word(n, "login.instead")
		return err
	},
	"callback": func(r *reader, n *node, l *Login) error {
		port, err := r.integer(n, "login.callback", 1024, 65535)
		l.Callback = uint16(port)
		return err
	},
	"file": func(r *reader, n *node, l *Login) error {
		given, err := readMap(r, n, "login.file", loginFileKeys, &l.File)
		if err == nil && (given["path"] == nil || given["access"] == nil || given["refresh"] == nil) {
			err = r.fail(n, "login.file: want path, access and refresh")
		}
		return err
	},
}

var loginFileKeys = keys[LoginFile]{
	"path":    func(r *reader, n *node, f *LoginFile) (err error) { f.Path, err = r.statePath(n); return err },
	"access":  func(r *reader, n *node, f *LoginFile) (err error) { f.Access, err = r.pointer(n); return err },
	"refresh": func(r *reader, n *node, f *LoginFile) (err error) { f.Refresh, err = r.pointer(n); return err },
	"id":      func(r *reader, n *node, f *LoginFile) (err error) { f.ID, err = r.pointer(n); return err },
	"expires": func(r *reader, n *node, f *LoginFile) (err error) { f.Expires, err = r.pointer(n); return err },
}

func (r *reader) pointer(n *node) (string, error) {
	text, err := r.str(n, "login.file")
	if err == nil && positionForm("json", text) != "" {
		err = r.fail(n, "login.file: want a JSON pointer")
	}
	return text, err
}

func (r *reader) login(n *node) (*Login, error) {
	var l Login
	given, err := readMap(r, n, "login", loginKeys, &l)
	if err == nil && (given["refresh"] == nil || given["client"] == nil || given["file"] == nil) {
		err = r.fail(n, "login: want refresh, client and file")
	}
	return &l, err
}

// LoginOf returns how the login of a provider is kept; nil for what is no login.
func LoginOf(provider string) *Login {
	p, _ := ProviderNamed(provider)
	return p.Login
}

// addLogins adds the logins that are made in this session: the tool's endpoint
// takes what the browser gave it, and the agent gets placeholders for what the
// endpoint answers.
func (s *Session) addLogins(names []string) error {
	for _, name := range names {
		p, known := ProviderNamed(name)
		if !known || p.Login == nil {
			return &ResolveError{ruleLogin, fmt.Sprintf("%q has no login", cut(name)), "logins are those of: " + loginNames()}
		}
		if slices.ContainsFunc(slices.Concat(s.Credentials, s.Logins), func(c Credential) bool { return c.Name == name || c.Provider == name }) {
			return &ResolveError{ruleLogin, fmt.Sprintf("%q is a credential of the session already", name), "leave out --with, or the policy's entry, where a new login is made"}
		}
		l := p.Login
		s.Logins = append(s.Logins, Credential{
			Name: name, Source: "store:" + name, Provider: name, Hosts: append(slices.Clone(p.Hosts), l.Host), Positions: p.Positions,
			Allow: everything(ruleLogin), Anonymous: AnonymousDeny, Rule: ruleLogin, Login: true,
			Placeholder: Shape{Mode: ShapeProvider, Templates: p.Templates},
			Captures: []Capture{{Path: l.Path, Hosts: []string{l.Host}, Secrets: []CapturedSecret{
				{Field: "access_token", Hosts: p.Hosts, Positions: p.Positions, Templates: p.Templates, Claims: p.Claims},
				{Field: "id_token", Positions: []Position{}, Claims: p.Claims},
				{Field: "refresh_token", Endpoint: true},
			}}},
		})
		if l.Callback != 0 {
			s.Publish = append(s.Publish, Publish{Listen: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), l.Callback), Port: l.Callback, Login: name, Rule: ruleLogin})
		}
	}
	return nil
}

func loginNames() string {
	var names []string
	for _, p := range providers() {
		if p.Login != nil {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Fields of a login that a tool's file holds beside the access token: names of
// placeholders that stand for them, behind the credential's.
const (
	LoginID      = ".id_token"
	LoginRefresh = ".refresh_token"
)

// Fields of a tool's file that hold parts of a login, in the table of masked
// files: these stand behind the provider's name.
const (
	LoginIDField      = "-id"
	LoginRefreshField = "-refresh"
)

// LoginCredentials are what the masked copy of a tool's file may hold beside
// the credential c itself. They are sent nowhere.
func LoginCredentials(c Credential) []Credential {
	if LoginOf(c.Provider) == nil {
		return nil
	}
	return []Credential{
		{Name: c.Name + LoginID, Source: c.Source, Provider: c.Provider + LoginIDField, Hosts: c.Hosts, Rule: c.Rule},
		{Name: c.Name + LoginRefresh, Source: c.Source, Provider: c.Provider + LoginRefreshField, Hosts: c.Hosts, Rule: c.Rule},
	}
}

// rivals reports whether of two credentials one is the login and the other the
// key that is used instead of it.
func rivals(a, b Credential) bool {
	instead := func(login, key Credential) bool {
		l := LoginOf(login.Provider)
		return l != nil && l.Instead != "" && l.Instead == key.Provider
	}
	return instead(a, b) || instead(b, a)
}

// addEndpoints lets the proxy refresh the session's logins, and trade in what
// is granted for.
func (s *Session) addEndpoints() {
	for _, c := range s.Credentials {
		var host string
		if l := LoginOf(c.Provider); l != nil {
			host = l.Host
		}
		if c.Grant != nil {
			host = c.Grant.Host
		}
		if host != "" && !slices.Contains(s.Endpoints, host) {
			s.Endpoints = append(s.Endpoints, host)
		}
	}
}
