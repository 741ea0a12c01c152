// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseRefAccepts(t *testing.T) {
	for text, want := range map[string]struct {
		kind   Kind
		name   string
		args   []string
		asUser bool
	}{
		"store:openai":                  {KindStore, "openai", []string{"openai"}, false},
		"store:0.a_b-c":                 {KindStore, "0.a_b-c", []string{"0.a_b-c"}, false},
		"file:/etc/keys/openai":         {KindFile, "/etc/keys/openai", []string{"/etc/keys/openai"}, false},
		"file:/etc/a key":               {KindFile, "/etc/a key", []string{"/etc/a key"}, false},
		"env:OPENAI_API_KEY":            {KindEnv, "OPENAI_API_KEY", []string{"OPENAI_API_KEY"}, false},
		"exec:/usr/bin/gh auth  token":  {KindExec, "/usr/bin/gh", []string{"/usr/bin/gh", "auth", "token"}, true},
		`exec:/usr/bin/op read "a b/c"`: {KindExec, "/usr/bin/op", []string{"/usr/bin/op", "read", "a b/c"}, true},
		`exec:/usr/bin/x a'b "c'd ''`:   {KindExec, "/usr/bin/x", []string{"/usr/bin/x", `ab "cd`, ""}, true},
		`exec:/usr/bin/x '\'`:           {KindExec, "/usr/bin/x", []string{"/usr/bin/x", `\`}, true},
		"secret-service:github/me":      {KindSecretService, "github/me", []string{"github", "me"}, true},
		"secret-service:https://a.b/me": {KindSecretService, "https://a.b/me", []string{"https://a.b", "me"}, true},
		"keyring:user/openai":           {KindKeyring, "user/openai", []string{"user", "openai"}, true},
		"keyring:big_key/a/b":           {KindKeyring, "big_key/a/b", []string{"big_key", "a/b"}, true},
		"systemd:openai":                {KindSystemd, "openai", []string{"openai"}, false},
	} {
		r, err := ParseRef(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if r.Kind() != want.kind || r.Name() != want.name || !reflect.DeepEqual(r.args, want.args) || r.AsUser() != want.asUser || r.String() != text {
			t.Errorf("%s: %+v name %q as user %v", text, r, r.Name(), r.AsUser())
		}
		var again Ref
		if j, err := json.Marshal(r); err != nil || json.Unmarshal(j, &again) != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%s does not survive JSON: %s %v", text, j, err)
		}
	}
}

func TestParseRefRefusesAndDoesNotQuote(t *testing.T) {
	c := newCanary(t)
	for _, text := range []string{
		"", "openai", ":", "store", "store:", "store:A", "store:-a", "store:a/b", "store:../key", "store:" + strings.Repeat("a", 64),
		"Store:a", " store:a", "store: a", "store:a\n", "vault:a", "file:", "file:relative", "file:~/key", "file:/", "file:/a/../b",
		"file:/a//b", "file:/a/", "file:/a\x00", "env:", "env:A-B", "env:1A", "env:A=B", "exec:", "exec: ", "exec:gh auth token",
		"exec:./gh", "exec:/usr/bin/../gh", "exec:/bin/sh -c 'open", `exec:/bin/sh a\ b`, "exec:/bin/sh\ta", "exec:''",
		"secret-service:", "secret-service:a", "secret-service:/a", "secret-service:a/", "keyring:user", "keyring:user/", "keyring:logon/a", "keyring:keyring/a", "systemd:a b", "file:/a\xff",
		"file:/" + strings.Repeat("a", maxRef), string(c), "key:" + string(c), "store:A" + string(c), "env:-" + string(c),
	} {
		r, err := ParseRef(text)
		if err == nil {
			t.Errorf("%q: parsed as %+v", text, r)
			continue
		}
		c.absent(t, err.Error())
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"store:a", "file:/a", "env:A", `exec:/a "b c" 'd'`, "secret-service:a/b", "keyring:user/d", "systemd:x", "x:y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRef(text)
		if err != nil {
			return
		}
		if r.String() != text || len(r.args) == 0 || strings.ContainsFunc(text, isControl) {
			t.Fatalf("%q: %+v", text, r)
		}
		if path := r.args[0]; (r.kind == KindFile || r.kind == KindExec) && (path[0] != '/' || strings.Contains(path, "/../")) {
			t.Fatalf("%q leads to %q", text, path)
		}
		if again, err := ParseRef(r.String()); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q parses differently again: %v", text, err)
		}
	})
}
