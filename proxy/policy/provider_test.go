// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/rand"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProviders(t *testing.T) {
	if len(Providers()) != len(providerTable)+3 { // aws, gcp and vertex have no placeholders of this kind
		t.Errorf("%d providers, %d in the table: %s", len(Providers()), len(providerTable), providerNames())
	}
	for _, w := range providerTable {
		t.Run(w.name, func(t *testing.T) {
			p, ok := ProviderNamed(w.name)
			if !ok {
				t.Fatal("missing")
			}
			var positions []string
			for _, position := range p.Positions {
				positions = append(positions, position.String())
			}
			got := []string{strings.Join(p.Hosts, " "), strings.Join(p.Env, " "), strings.Join(positions, " | "), string(p.Anonymous)}
			if diff := cmp.Diff([]string{w.hosts, w.env, w.positions, string(w.anonymous)}, got); diff != "" {
				t.Error(diff)
			}
			if slices.ContainsFunc(p.Hosts, func(h string) bool { return strings.Contains(h, "*") }) {
				t.Error("a provider's hosts are exact")
			}
			c := Credential{Name: p.Name, Placeholder: Shape{Mode: ShapeProvider, Templates: p.Templates}}
			holder, err := Placeholder(c, w.length, []byte("s"), rand.Reader)
			if err != nil || len(holder) != w.length || !regexp.MustCompile(w.shape).MatchString(holder) {
				t.Errorf("placeholder %q, %v", holder, err)
			}
		})
	}
}

// TestProvidersOfServiceAccounts: a key file stands for itself, wherever its
// account's tokens count, and what it is traded in for is captured.
func TestProvidersOfServiceAccounts(t *testing.T) {
	for name, hosts := range map[string][]string{"gcp": nil, "vertex": {"aiplatform.googleapis.com", "oauth2.googleapis.com"}} {
		t.Run(name, func(t *testing.T) {
			p, _ := ProviderNamed(name)
			want := Provider{
				Name: name, Hosts: hosts, Env: []string{"GOOGLE_APPLICATION_CREDENTIALS"}, Positions: []Position{{Kind: PositionServiceAccount}}, Anonymous: AnonymousDeny,
				Captures: []Capture{{Path: "/token", Hosts: []string{"oauth2.googleapis.com"}, Secrets: []CapturedSecret{{Field: "access_token"}, {Field: "id_token"}}}},
			}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Error(diff)
			}
			stored := func(string) ([]string, string, bool) { return []string{"eu-aiplatform.googleapis.com"}, name, true }
			s, err := Resolve(nil, Flags{With: []string{name}}, stored)
			if err != nil || len(s.Credentials) != 1 || !s.Credentials[0].Asserts() || !slices.Equal(s.Credentials[0].Hosts, []string{"eu-aiplatform.googleapis.com"}) {
				t.Errorf("stored for a region: %+v, %v", s, err)
			}
		})
	}
}

func TestProviderOfKeyPairs(t *testing.T) {
	p, ok := ProviderNamed("aws")
	if !ok || !signs(p.Positions) || len(p.Env) != 3 || len(p.Hosts) > 0 || len(p.Templates) > 0 {
		t.Errorf("%+v", p)
	}
	c := Credential{Positions: p.Positions, Env: p.Env, Placeholder: Shape{Mode: ShapeProvider}}
	if err := c.checkPair(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Credential){
		"another position": func(c *Credential) { c.Positions = append(c.Positions, Position{Kind: PositionBearer}) },
		"outbound":         func(c *Credential) { c.Outbound = &Position{Kind: PositionBearer} },
		"placeholder":      func(c *Credential) { c.Placeholder.Mode = ShapeName },
		"one variable":     func(c *Credential) { c.Env = c.Env[:1] },
	} {
		bad := c
		bad.Positions = slices.Clone(c.Positions)
		if change(&bad); bad.checkPair() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestProviderFileIsStrict(t *testing.T) {
	const good = "name: x\nhosts: [a.test]\nenv: [X]\ninject: [bearer]\nplaceholder: [\"{base62:*}\"]\n"
	if _, err := parseProvider("providers/x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, message string }{
		"unknown key":    {good + "x: 1\n", "unknown key"},
		"duplicate key":  {good + "env: [Y]\n", "the same key twice"},
		"other name":     {strings.Replace(good, "name: x", "name: y", 1), "want the file's own"},
		"empty hosts":    {strings.Replace(good, "[a.test]", "[]", 1), "an empty list"},
		"no env":         {strings.Replace(good, "env: [X]\n", "", 1), "env: missing"},
		"bad host":       {strings.Replace(good, "a.test", "127.0.0.1", 1), "bad host name"},
		"no placeholder": {strings.Replace(good, "placeholder: [\"{base62:*}\"]\n", "", 1), "placeholder: missing"},
		"weak template":  {strings.Replace(good, "base62:*", "hex:8", 1), "128 random bits"},
		"allow":          {good + "allow: []\n", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseProvider("providers/x.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v; want %q", err, c.message)
			}
		})
	}
}
