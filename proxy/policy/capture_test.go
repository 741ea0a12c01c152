// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mintedOf(t *testing.T, s *Session) (r *Rules, lines []string) {
	t.Helper()
	r, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Credential
	for _, e := range r.captures {
		for _, s := range e.Secrets {
			if !slices.Contains(all, s.Credential) {
				all = append(all, s.Credential)
			}
		}
	}
	for _, m := range all {
		var positions []string
		for _, p := range m.Positions {
			positions = append(positions, p.String())
		}
		lines = append(lines, m.Name+" @ "+strings.Join(m.Hosts, " ")+" | "+strings.Join(positions, ", "))
	}
	return r, lines
}

func session(t *testing.T, text string) *Session {
	t.Helper()
	f, err := Parse("p", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(f, Flags{}, func(string) ([]string, string, bool) { return []string{"a.test", "api.a.test"}, "", true })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCaptures: what a policy says, what it does not, and that it crosses a pipe.
func TestCaptures(t *testing.T) {
	const head = "version: 1\ncredentials:\n  x:\n    env: [X]\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"general": {"", []string{"x.access_token @ a.test api.a.test | bearer", "x.id_token @ a.test api.a.test | bearer",
			"x.refresh_token @ a.test api.a.test | form: refresh_token, json: /refresh_token",
			"x.device_code @ a.test api.a.test | form: device_code, json: /device_code"}},
		"none": {"    captures: []\n", nil},
		"own": {`    captures:
    - path: /installations/*/tokens
      hosts: [api.a.test]
      secrets: [{field: Token, hosts: [a.test, b.test], inject: [token, {basic: password}]}, {field: again, endpoint: only}]
    - {path: /other, secrets: [{field: token, inject: []}]}
`, []string{"x.token @ a.test | token, basic: password", "x.again @ api.a.test | form: again, json: /again", "x.token-2 @ a.test api.a.test | "}},
	} {
		s := session(t, head+c.text)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var crossed Session
		if err := json.Unmarshal(data, &crossed); err != nil {
			t.Fatal(err)
		}
		if _, got := mintedOf(t, &crossed); !cmp.Equal(got, c.want) {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, got))
		}
	}
}

func TestCapturesRefused(t *testing.T) {
	const head = "version: 1\ncredentials:\n  x:\n    captures:\n    - "
	for text, message := range map[string]string{
		"{path: /a}":                                                    "want path and secrets",
		"{secrets: [{field: t}]}":                                       "want path and secrets",
		"{path: a, secrets: [{field: t}]}":                              "captures.path",
		"{path: /a, secrets: []}":                                       "an empty list",
		"{path: /a, secrets: [{inject: [bearer]}]}":                     "want field",
		"{path: /a, secrets: [{field: /a/b}]}":                          "the field's name alone",
		"{path: /a, secrets: [{field: t, endpoint: yes}]}":              "want",
		"{path: /a, secrets: [{field: t, endpoint: only, inject: []}]}": "have no use",
		"{path: /a, secrets: [{field: t, placeholder: ['{hex:3}']}]}":   "128 random bits",
		"{path: /a, secrets: [{field: t, hosts: ['*']}]}":               "",
		"{path: /a, method: GET, secrets: [{field: t}]}":                "unknown key",
	} {
		if _, err := Parse("p", []byte(head+text+"\n")); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestCaptureOfAnotherHost: an endpoint is one of its credential's hosts.
func TestCaptureOfAnotherHost(t *testing.T) {
	r, _ := mintedOf(t, session(t, "version: 1\ncredentials:\n  x:\n    env: [X]\n    captures: [{path: /t, hosts: [a.test, b.test], secrets: [{field: token}]}]\n"))
	for host, want := range map[string]bool{"a.test": true, "api.a.test": false, "b.test": false} {
		if got := r.Capture(host, "/t") != nil; got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

// TestJWT: the placeholder parses, shows the times and what was declared, and
// nothing else; its signature is of its own.
func TestJWT(t *testing.T) {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	real := part(`{"alg":"RS256","kid":"secret-kid","typ":"JWT"}`) + "." +
		part(`{"exp":1234567890,"sub":"secret-sub","email":"a@b.test","https://x.test/auth":{"account":"42"}}`) + "." + strings.Repeat("Ab3_", 86)
	c := Credential{Claims: []string{"email", "https://x.test/auth", "absent"}}
	seen := make(map[string]bool)
	for range 100 {
		text, ok, err := JWT(c, []byte(real), time.Time{}, rand.Reader)
		if err != nil || !ok || seen[text] {
			t.Fatalf("%q, %v, %v", text, ok, err)
		}
		seen[text] = true
		parts := strings.Split(text, ".")
		head, err1 := base64.RawURLEncoding.DecodeString(parts[0])
		claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
		signature, err3 := base64.RawURLEncoding.DecodeString(parts[2])
		if err1 != nil || err2 != nil || err3 != nil || string(head) != `{"alg":"RS256","typ":"JWT"}` ||
			string(claims) != `{"email":"a@b.test","exp":1234567890,"https://x.test/auth":{"account":"42"}}` || len(signature) < 32 {
			t.Fatalf("%s %s %d", head, claims, len(signature))
		}
	}
	for _, none := range []string{"", "a.b", "a.b.c", "..", real + ".x", "sk-" + real, part(`{"typ":"JWT"}`) + "." + part("{}") + ".x", part(`{"alg":"none"}`) + "." + part("{}") + "."} {
		if text, ok, err := JWT(c, []byte(none), time.Time{}, rand.Reader); ok || err != nil {
			t.Errorf("%.40q became %q, %v", none, text, err)
		}
	}
}

// A credential has its provider's captures where the policy says none, and none
// where it says so.
func TestCapturesOfAProvider(t *testing.T) {
	preset, _ := ProviderNamed("github")
	stored := func(string) ([]string, string, bool) { return nil, "github", true }
	for want, declared := range map[int][]Capture{len(preset.Captures): nil, 0: {}} {
		c, err := resolveCredential(Declared{Name: "work", Captures: declared, Rule: "p:1"}, stored)
		if err != nil || len(c.Captures) != want {
			t.Errorf("%d captures, not %d, %v", len(c.Captures), want, err)
		}
	}
}

// C10: whichever way a server reads a path, the endpoint's is found.
func TestC10CaptureOfAPathInDisguise(t *testing.T) {
	r := mustCompile(t, &Session{Credentials: []Credential{credentialFor("x", "a.test")}})
	for path, captured := range map[string]bool{
		"/oauth/token": true, "/OAuth/Token": true, "/oauth/%74oken": true, "/oauth/%2574oken": true, "/oauth%2ftoken": true,
		"/oauth//token": true, "//oauth/token": true, "/oauth/./token": true, "/oauth/x/../token": true, "/oauth/%2e%2e/oauth/token": true,
		"/oauth/token/": true, "/oauth;v=1/token": true, `/oauth\token`: true, "/oauth/token;x": true, "/oauth/token%zz/../token": true,
		"/oauth/tokens": false, "/oauth": false, "/": false,
	} {
		if got := r.Capture("a.test", path) != nil; got != captured {
			t.Errorf("%s: captured %t", path, got)
		}
	}
	if r.Capture("b.test", "/oauth/token") != nil {
		t.Error("of another host")
	}
}
