// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shelf is a store of the tests: name to "PROVIDER HOST HOST…", "-" for none.
type shelf map[string]string

func (s shelf) stored(name string) (hosts []string, provider string, ok bool) {
	text, ok := s[name]
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, "", ok
	}
	if words[0] == "-" {
		words[0] = ""
	}
	return words[1:], words[0], ok
}

func resolveText(t *testing.T, text string, flags Flags, s shelf) (*Session, error) {
	t.Helper()
	file, err := Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Resolve(file, flags, s.stored)
}

func TestResolveWithoutPolicyHasNothing(t *testing.T) {
	s, err := Resolve(nil, Flags{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Session{Filesystem: defaultFilesystem(), Limits: defaultLimits, AuditFull: AuditBlock, KeyAtRest: "warn"}
	if diff := cmp.Diff(want, s, comparePrefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestResolveTakesProvidersPreset(t *testing.T) {
	want := Credential{
		Name: "anthropic", Source: "store:anthropic", Provider: "anthropic", Env: []string{"ANTHROPIC_API_KEY"},
		Hosts: []string{"api.anthropic.com"}, Positions: []Position{{PositionHeader, "x-api-key"}, {Kind: PositionBearer}},
		Allow: []Allow{{"*", "*", "--with"}}, Anonymous: AnonymousRead, Challenge: "Bearer",
		Placeholder: Shape{ShapeProvider, []string{"sk-ant-api03-{base64url:*}{tail:18}AA", "sk-ant-admin01-{base64url:*}AA"}}, Rule: "--with",
	}
	for name, recorded := range map[string]string{
		"provider by name":     "",
		"hosts recorded":       "- api.anthropic.com",
		"everything recorded":  "anthropic API.anthropic.com.",
		"wider hosts recorded": "- *.anthropic.com",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Resolve(nil, Flags{With: []string{"anthropic", "anthropic"}}, shelf{"anthropic": recorded}.stored)
			if err != nil {
				t.Fatal(err)
			}
			w := want
			if strings.Contains(recorded, "*") {
				w.Hosts = []string{"*.anthropic.com"} // what it was stored for counts, not the preset
			}
			if diff := cmp.Diff([]Credential{w}, s.Credentials); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolveRecordedProviderComesBeforeTheName(t *testing.T) {
	s, err := Resolve(nil, Flags{With: []string{"work"}}, shelf{"work": "github"}.stored)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Credentials[0]; c.Provider != "github" || c.Anonymous != AnonymousRead || c.Challenge != `Basic realm="GitHub"` {
		t.Errorf("%+v", c)
	}
}

func TestResolveHosts(t *testing.T) {
	for name, c := range map[string]struct {
		declared, recorded, want, message string
	}{
		"policy narrows":             {"hosts: [b.x.test]", "- a.x.test b.x.test", "b.x.test", ""},
		"policy narrows a wildcard":  {"hosts: [b.x.test]", "- *.x.test", "b.x.test", ""},
		"wildcard keeps what is":     {"hosts: [\"*.x.test\"]", "- b.x.test a.x.test c.y.test", "a.x.test b.x.test", ""},
		"policy adds":                {"hosts: [a.x.test, c.test]", "- a.x.test", "", "host c.test is not among those it is bound to (a.x.test)"},
		"policy replaces":            {"hosts: [evil.test]", "- a.x.test", "", "host evil.test is not among"},
		"N4 apex of a wildcard":      {"hosts: [x.test]", "- *.x.test", "", "host x.test is not among"},
		"N4 look-alike":              {"hosts: [notapi.openai.com]", "openai api.openai.com", "", "is not among"},
		"wider wildcard alone":       {"hosts: [\"*.a.x.test\"]", "- b.x.test", "", "is not among"},
		"recorded provider":          {"hosts: [evil.test]", "openai", "", "host evil.test is not among those it is bound to (api.openai.com)"},
		"declared provider":          {"provider: openai", "", "api.openai.com", ""},
		"stored for nothing":         {"hosts: [evil.test]", "", "", "it was stored without hosts"},
		"recorded host is bad":       {"", "- 127.0.0.1", "", "the hosts recorded with it: bad host name"},
		"env source, own hosts":      {"from: env:K, hosts: [gw.test]", "", "gw.test", ""},
		"env source, own before":     {"from: env:K, provider: openai, hosts: [gw.test]", "", "gw.test", ""},
		"env source, provider":       {"from: env:K, provider: openai", "", "api.openai.com", ""},
		"env source, nothing":        {"from: env:K", "", "", "bound to no host"},
		"exec source, nothing":       {"from: exec:/bin/x", "", "", "bound to no host"},
		"file source, nothing":       {"from: file:/x", "", "", "bound to no host"},
		"service source, nothing":    {"from: secret-service:a/b", "", "", "bound to no host"},
		"twice the same host":        {"from: env:K, hosts: [a.test, A.test.]", "", "a.test", ""},
		"the store is not asked":     {"from: env:K, hosts: [gw.test]", "github github.com", "gw.test", ""},
		"unknown declared provider":  {"provider: opneai", "- a.test", "", `unknown provider "opneai"`},
		"unknown recorded provider":  {"", "gone a.test", "", `unknown provider "gone"`},
		"declared provider is first": {"provider: openai", "github", "api.openai.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := "version: 1\ncredentials: {k: {env: [K]"
			if c.declared != "" {
				text += ", " + c.declared
			}
			s, err := resolveText(t, text+"}}\n", Flags{}, shelf{"k": c.recorded})
			if c.message != "" {
				var at *ResolveError
				if !errors.As(err, &at) || !strings.Contains(at.Message, c.message) || at.Rule != "p.yaml:2" {
					t.Fatalf("%v; want %q", err, c.message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.Credentials[0].Hosts, " "); got != c.want {
				t.Errorf("hosts %s, want %s", got, c.want)
			}
		})
	}
}

func TestResolveRefusesWithAHint(t *testing.T) {
	for name, c := range map[string]struct {
		text          string
		flags         Flags
		message, hint string
	}{
		"O4 not stored":       {"credentials: {openai: {}}", Flags{}, `p.yaml:2: credential "openai": the store has no "openai"`, "phantom-ns secret set openai"},
		"O4 other store name": {"credentials: {openai: {from: store:work}}", Flags{}, `the store has no "work"`, "phantom-ns secret set work"},
		"with not stored":     {"", Flags{With: []string{"openai"}}, `--with: credential "openai": the store has no "openai"`, "phantom-ns secret set openai"},
		"with not a name":     {"", Flags{With: []string{"../x\n"}}, `"../x\n" is not the name of a credential`, "secret list"},
		"unknown provider":    {"credentials: {a: {provider: acme, from: env:X}}", Flags{}, `unknown provider "acme"`, "anthropic, assemblyai"},
		"nowhere to appear":   {"", Flags{With: []string{"bare"}}, "neither a provider nor env", "add env: [VARIABLE] to credentials.bare"},
		"same variable":       {"credentials: {github: {from: env:X}, second: {from: env:Y, provider: github}}", Flags{}, `"github" and "second" both set GH_TOKEN`, "env: [ANOTHER_NAME]"},
		"same placeholder":    {"credentials: {a: {from: env:X, env: [], hosts: [a.test], placeholder: name}, b: {from: env:Y, env: [a], hosts: [a.test], placeholder: name}}", Flags{}, "have the same placeholder", "placeholder: shape"},
		"allow an address":    {"", Flags{Allow: []string{"10.0.0.1:5432"}}, "last label is a number", "declared in a policy"},
		"allow IPv6":          {"", Flags{Allow: []string{"[::1]:443"}}, "want HOST or HOST:PORT", "declared in a policy"},
		"allow short IPv4":    {"", Flags{Allow: []string{"127.1"}}, "last label is a number", "letters, digits"},
		"allow port 80":       {"", Flags{Allow: []string{"a.test:80"}}, "port 80 is not for https", "protocol: http"},
		"allow bad port":      {"", Flags{Allow: []string{"a.test:0443"}}, "want HOST or HOST:PORT", "letters, digits"},
		"allow a URL":         {"", Flags{Allow: []string{"https://a.test"}}, "want HOST or HOST:PORT", "letters, digits"},
		"allow nothing":       {"", Flags{Allow: []string{""}}, "empty", "letters, digits"},
		"allow everything":    {"", Flags{Allow: []string{"*"}}, "bad host name", "letters, digits"},
		"allow a domain":      {"", Flags{Allow: []string{"*.com"}}, "whole top-level domain", "letters, digits"},
		"allow control":       {"", Flags{Allow: []string{"a\x1b[31m.test"}}, `"a\x1b[31m.test"`, "letters, digits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resolveText(t, "version: 1\n"+c.text+"\n", c.flags, shelf{"bare": "- a.test"})
			var at *ResolveError
			if !errors.As(err, &at) {
				t.Fatalf("%v; want a ResolveError", err)
			}
			if !strings.Contains(err.Error(), c.message) || !strings.Contains(at.Hint, c.hint) {
				t.Errorf("%v (%s); want %q (%q)", err, at.Hint, c.message, c.hint)
			}
			if strings.ContainsAny(err.Error()+at.Hint, "\n\x1b") {
				t.Errorf("control characters: %q", err)
			}
		})
	}
}

func TestResolveDoesNotChangeTheFile(t *testing.T) {
	file, err := Parse("p.yaml", []byte("version: 1\negress: [{host: a.test, allow: [\"POST /x\"]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(file, Flags{Allow: []string{"a.test", "b.test:8443"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Egress{
		{Host: "a.test", Port: 443, Protocol: HTTPS, Rule: "p.yaml:2", Allow: []Allow{{"POST", "/x", "p.yaml:2"}, {"GET", "*", "--allow"}, {"HEAD", "*", "--allow"}}},
		{Host: "b.test", Port: 8443, Protocol: HTTPS, Rule: "--allow", Allow: reads("--allow")},
	}
	if diff := cmp.Diff(want, s.Egress, comparePrefixes); diff != "" {
		t.Error(diff)
	}
	if len(file.Egress) != 1 || len(file.Egress[0].Allow) != 1 {
		t.Errorf("the file changed: %+v", file.Egress)
	}
}

func TestSessionCrossesAsJSON(t *testing.T) {
	file, err := Parse("p.yaml", []byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	file.Credentials[2].Env, file.Credentials[2].Hosts = []string{"T"}, []string{"t.test"}
	s, err := Resolve(file, Flags{With: []string{"github"}, Allow: []string{"b.test"}}, shelf{"github": "github", "openai": "openai"}.stored)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got Session
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, &got, comparePrefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
