// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"testing"
)

// What a container has no use for is refused with its line, and what is left is
// a policy.
func TestCheckNode(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"egress:\n  - host: a.test\n":   "",
		"forward: [\"127.0.0.1:22\"]\n": "",
		"credentials:\n  k: {from: \"store:k\", env: [K], hosts: [a.test]}\n":   "",
		"credentials:\n  k: {from: \"systemd:k\", env: [K], hosts: [a.test]}\n": "",
		"limits: {streams: 5}\nfilesystem: {home: read-only}\n":                 "p.yaml:3: filesystem: not in the policy of a node",
		"permit: [ptrace]\n": "p.yaml:2: permit: not in the policy of a node",
		"profile: none\n":    "p.yaml:2: profile: not in the policy of a node",
		"credentials:\n  k: {from: \"env:K\", env: [K], hosts: [a.test]}\n":                                          `p.yaml:3: credential "k": env: is a user's source, and a node has no user`,
		"credentials:\n  k: {from: \"keyring:user/k\", env: [K], hosts: [a.test]}\n":                                 `p.yaml:3: credential "k": keyring: is a user's source, and a node has no user`,
		"credentials:\n  k:\n    env: [K]\n    hosts: [a.test]\n    files: [{path: ~/k, format: json, field: /k}]\n": `p.yaml:3: credential "k": files: not in the policy of a node`,
	} {
		f, err := Parse("p.yaml", []byte("version: 1\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := f.CheckNode(); err != nil {
			var resolve *ResolveError
			if got = err.Error(); !errors.As(err, &resolve) || resolve.Hint == "" {
				t.Errorf("%q: no hint: %v", text, err)
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// A node's policy may get what running sessions cannot use; a session's may not.
func TestCheckNodeReload(t *testing.T) {
	credential := Credential{Name: "k", Env: []string{"K"}, Placeholder: Shape{Mode: ShapeTemplate, Templates: []string{"{hex:32}"}}, Hosts: []string{"a.test"}, Positions: []Position{{Kind: PositionBearer}}}
	first := &Session{Credentials: []Credential{credential}}
	wider := &Session{
		Credentials: []Credential{credential, {Name: "more", Hosts: []string{"b.test"}, Positions: []Position{{Kind: PositionBearer}}}},
		Egress:      []Egress{{Host: "c.test", Port: 443, Protocol: HTTPS}},
	}
	if err := first.CheckNodeReload(wider); err != nil {
		t.Errorf("wider: %v", err)
	}
	if err := first.CheckReload(wider); err == nil {
		t.Error("a session takes a credential that its agent has no placeholder for")
	}
	other := credential
	other.Placeholder.Templates = []string{"{hex:40}"}
	for name, next := range map[string]*Session{
		"placeholder": {Credentials: []Credential{other}},
		"forward":     {Forward: []Forward{{Port: 22, Connect: "127.0.0.1:22"}}},
		"limits":      {Limits: Limits{Connections: 4}},
	} {
		if err := first.CheckNodeReload(next); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
