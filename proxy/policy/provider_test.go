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
	if len(Providers()) != len(providerTable) {
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

func TestProviderFileIsStrict(t *testing.T) {
	const good = "name: x\nhosts: [a.test]\nenv: [X]\ninject: [bearer]\nplaceholder: [\"{base62:*}\"]\n"
	if _, err := parseProvider("providers/x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, message string }{
		"unknown key":          {good + "x: 1\n", "unknown key"},
		"duplicate key":        {good + "env: [Y]\n", "the same key twice"},
		"other name":           {strings.Replace(good, "name: x", "name: y", 1), "want the file's own"},
		"empty hosts":          {strings.Replace(good, "[a.test]", "[]", 1), "an empty list"},
		"no env":               {strings.Replace(good, "env: [X]\n", "", 1), "env: missing"},
		"bad host":             {strings.Replace(good, "a.test", "127.0.0.1", 1), "bad host name"},
		"unsupported position": {strings.Replace(good, "bearer", "sigv4", 1), "not supported by this build"},
		"weak template":        {strings.Replace(good, "base62:*", "hex:8", 1), "128 random bits"},
		"allow":                {good + "allow: []\n", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseProvider("providers/x.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v; want %q", err, c.message)
			}
		})
	}
}
