// SPDX-License-Identifier: Apache-2.0

//go:build root

package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// recipe is the exec: reference of docs/RECIPES.md for a program.
func recipe(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		ref, found := strings.CutPrefix(strings.TrimSpace(line), "from: ")
		if name, _, _ := strings.Cut(ref, " "); found && filepath.Base(name) == program {
			return ref
		}
	}
	t.Fatalf("no recipe for %s", program)
	return ""
}

// recipient is the user who has the tools' files.
type recipient struct {
	owned
	home string
}

func newRecipient(t *testing.T) recipient {
	o := newOwned(t)
	return recipient{o, o.put("home", "", fs.ModeDir|0o700, nobody)}
}

func (r recipient) fetch(ref string) outcome {
	r.t.Helper()
	return helper{credential: asNobody}.run(r.t, request(r.t, ref, Env{UID: nobody, GID: nobody, User: "nobody", Home: r.home}))
}

// as runs a program as that user.
func (r recipient) as(stdin string, argv ...string) {
	r.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = []string{"HOME=" + r.home, "PATH=" + execPath, "USER=nobody", "LANG=C.UTF-8"}, "/"
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: asNobody, Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v: %s", argv, err, out)
	}
}

// The real pass, with a real key.
func TestRecipePass(t *testing.T) {
	r, c := newRecipient(t), newCanary(t)
	t.Cleanup(func() { r.as("", "/usr/bin/gpgconf", "--kill", "all") })
	r.put("home/.gnupg", "", fs.ModeDir|0o700, nobody)
	r.as("", "/usr/bin/gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "tester@example.org", "default", "default", "never")
	r.as("", "/usr/bin/pass", "init", "tester@example.org")
	r.as(string(c)+"\n", "/usr/bin/pass", "insert", "--multiline", "work/api")
	ref := recipe(t, "pass")
	o := r.fetch(ref)
	if err := errors.Join(o.err, o.factsErr, o.exit); err != nil {
		t.Fatal(err, o.output)
	}
	c.same(t, o.entry.Value)
	if o = r.fetch(ref + "/none"); o.err == nil || !strings.Contains(o.err.Error(), "not in the password store") {
		t.Errorf("an entry that there is not: %v", o.err)
	}
	r.as(string(c)+"\nuser: me\n", "/usr/bin/pass", "insert", "--multiline", "--force", "work/api")
	if o = r.fetch(ref); o.err == nil || !strings.Contains(o.err.Error(), ErrNewline.Error()) {
		t.Errorf("an entry of two lines: %v", o.err)
	}
	c.absent(t, fmt.Sprint(o.err, o.output))
}

// The real gh, on its own file.
func TestRecipeGh(t *testing.T) {
	r, c := newRecipient(t), newCanary(t)
	if o := r.fetch(recipe(t, "gh")); o.err == nil {
		t.Error("a token without a login")
	}
	r.put("home/.config", "", fs.ModeDir|0o700, nobody)
	r.put("home/.config/gh", "", fs.ModeDir|0o700, nobody)
	r.put("home/.config/gh/hosts.yml", "github.com:\n    user: me\n    oauth_token: "+string(c)+"\n    git_protocol: https\n", 0o600, nobody)
	o := r.fetch(recipe(t, "gh"))
	if o.err != nil {
		t.Fatal(o.err)
	}
	c.same(t, o.entry.Value)
}

// standIn is a program that wants those arguments, the user's own home and none
// of the caller's variables, and prints output where the user is signed in.
const standIn = `#!/bin/sh
[ "$*" = '%s' ] || { echo "unknown command: $*" >&2; exit 64; }
[ -z "$AWS_PROFILE$VAULT_ADDR$VAULT_TOKEN$OP_SESSION" ] || { echo "variables of the caller's" >&2; exit 65; }
[ -e "$HOME/signed-in" ] || { echo '%s' >&2; exit 1; }
cat <<'END'
%s
END
`

// Stand-ins for what needs a service: they are called as the recipe says, and
// their output has the form of the real one's.
func TestRecipes(t *testing.T) {
	const key = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYaa"
	for program, tool := range map[string]struct{ refusal, output, want string }{
		"op":     {"[ERROR] 2026/01/01 00:00:00 account is not signed in", "%s", "%s"},
		"vault":  {"* permission denied", "%s", "%s"},
		"gcloud": {"ERROR: (gcloud.auth.print-access-token) You do not currently have an active account selected.", "ya29.%s", "ya29.%s"},
		"aws": {
			"The SSO session associated with this profile has expired",
			"{\n  \"Version\": 1,\n  \"AccessKeyId\": \"ASIAIOSFODNN7EXAMPLE\",\n  \"SecretAccessKey\": \"" + key + "\",\n  \"SessionToken\": \"%s\",\n  \"Expiration\": \"2026-01-01T00:00:00+00:00\"\n}",
			`{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"` + key + `","SessionToken":"%s","Expiration":"2026-01-01T00:00:00+00:00"}`,
		},
	} {
		t.Run(program, func(t *testing.T) {
			r, c := newRecipient(t), newCanary(t)
			r.put("roots", "", fs.ModeDir|0o755, 0)
			_, arguments, _ := strings.Cut(recipe(t, program), " ")
			path := r.put("roots/"+program, fmt.Sprintf(standIn, arguments, tool.refusal, fmt.Sprintf(tool.output, c)), 0o755, 0)
			o := r.fetch("exec:" + path + " " + arguments)
			if o.err == nil || !strings.Contains(o.err.Error(), strings.Fields(tool.refusal)[0]) {
				t.Errorf("not signed in: %v", o.err)
			}
			c.absent(t, fmt.Sprint(o.err, o.output))
			r.put("home/signed-in", "", 0o600, nobody)
			if o = r.fetch("exec:" + path + " " + arguments); o.err != nil {
				t.Fatal(o.err)
			}
			if got, want := string(o.entry.Value.Reveal()), fmt.Sprintf(tool.want, c); got != want {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			if o = r.fetch("exec:" + path + " " + arguments + " more"); o.err == nil || !strings.Contains(o.err.Error(), "unknown command") {
				t.Errorf("another argument: %v", o.err)
			}
		})
	}
}
