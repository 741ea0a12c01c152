// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"testing"
)

const running = `version: 1
credentials:
  a:
    from: store:a
    env: [A_KEY]
    hosts: [a.test, b.test]
  b:
    from: store:b
    env: [B_KEY]
    hosts: [b.test]
egress:
  - host: "*.docs.test"
  - address: 10.0.0.0/8
    port: 5432
    protocol: tcp
forward: ["127.0.0.1:5432"]
`

func sessionOf(t *testing.T, text string) *Session {
	t.Helper()
	file, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(file, Flags{}, func(string) ([]string, string, bool) { return []string{"a.test", "b.test"}, "", true })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestO8ReloadRefusesWhatARunningSessionCannotDo(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"the same":            {"", "", ""},
		"another line":        {"version: 1\n", "version: 1\n# a comment\n\n", ""},
		"less":                {"  - host: \"*.docs.test\"\n", "", ""},
		"narrower host":       {"*.docs.test", "api.docs.test", ""},
		"narrower pattern":    {"*.docs.test", "*.api.docs.test", ""},
		"narrower network":    {"10.0.0.0/8", "10.1.0.0/16", ""},
		"fewer hosts":         {"[a.test, b.test]", "[a.test]", ""},
		"another source":      {"from: store:a", "from: file:/etc/key", ""},
		"another host":        {"*.docs.test", "*.evil.test", "certificate authority"},
		"the apex":            {"*.docs.test", "docs.test", "certificate authority"},
		"a wider network":     {"10.0.0.0/8", "10.0.0.0/8\n    port: 1\n    protocol: tcp\n  - address: 11.0.0.0/8", "kernel"},
		"another network":     {"10.0.0.0/8", "192.168.0.0/16", "kernel"},
		"a credential":        {"  b:\n    from", "  c:\n    from", "\"c\" was not there"},
		"other variables":     {"[A_KEY]", "[A_KEY, A_TOKEN]", "other variables"},
		"another placeholder": {"    env: [A_KEY]\n", "    env: [A_KEY]\n    placeholder: name\n", "another placeholder"},
		"forward":             {"127.0.0.1:5432", "127.0.0.1:5433", "forward cannot change"},
		"forward gone":        {"forward: [\"127.0.0.1:5432\"]\n", "", "forward cannot change"},
		"permit":              {"version: 1\n", "version: 1\npermit: [ptrace]\n", "permit cannot change"},
		"limits":              {"version: 1\n", "version: 1\nlimits: {connections: 7}\n", "limits cannot change"},
		"audit":               {"version: 1\n", "version: 1\naudit: {full: drop}\n", "audit.full cannot change"},
		"strict":              {"version: 1\n", "version: 1\nstrict: {key_at_rest: refuse}\n", "strict.key_at_rest cannot change"},
		"filesystem":          {"version: 1\n", "version: 1\nfilesystem: {hide: [~/x]}\n", "filesystem cannot change"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(running, c.old) {
				t.Fatal("nothing to replace")
			}
			err := sessionOf(t, running).CheckReload(sessionOf(t, strings.Replace(running, c.old, c.new, 1)))
			var resolve *ResolveError
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &resolve) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
