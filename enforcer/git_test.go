// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

func gitSession() *policy.Session {
	return &policy.Session{
		Credentials: []policy.Credential{
			{Name: "github", Env: []string{"GH_TOKEN"}, Hosts: []string{"github.com", "*.corp.test"}, Positions: []policy.Position{{Kind: policy.PositionBasic, Name: policy.BasicPassword}}},
			{Name: "openai", Env: []string{"OPENAI_API_KEY"}, Hosts: []string{"api.openai.com"}, Positions: []policy.Position{{Kind: policy.PositionBearer}}},
		},
		Egress: []policy.Egress{
			{Host: "gitlab.com", Port: 443, Allow: []policy.Allow{{Method: "POST", Glob: "/**/git-upload-pack"}}},
			{Host: "docs.test", Port: 443, Allow: []policy.Allow{{Method: "GET", Glob: "*"}}},
		},
	}
}

func TestGitHostsAreThoseItCanReach(t *testing.T) {
	if diff := cmp.Diff([]string{"github.com", "gitlab.com"}, gitHosts(gitSession())); diff != "" {
		t.Error(diff)
	}
	if env := gitEnviron(&policy.Session{}, gitConfig{}); env != nil {
		t.Errorf("without git: %v", env)
	}
	if env := gitEnviron(&policy.Session{}, gitConfig{signs: true}); len(env) != 2+2*4 {
		t.Errorf("signing alone: %v", env)
	}
}

func TestGitConfigIsReadForWhatDefeatsUs(t *testing.T) {
	for text, want := range map[string]gitConfig{
		"": {},
		"[url \"git@github.com:\"]\n\tinsteadOf = https://github.com/\n":          {rewrites: []gitRewrite{{"insteadOf", "https://github.com/"}}},
		"[URL \"ssh://git@github.com/\"] pushInsteadOf = \"https://github.com/\"": {rewrites: []gitRewrite{{"pushInsteadOf", "https://github.com/"}}},
		"[url \"github.com:\"]\n insteadof=gh:\n":                                 {rewrites: []gitRewrite{{"insteadOf", "gh:"}}},
		"[url \"https://mirror.corp.test/\"]\n insteadOf = https://github.com/\n": {},
		"[user]\n insteadOf = https://github.com/\n":                              {},
		"[commit]\n\tgpgsign = true\n":                                            {signs: true},
		"[tag] gpgSign\n":                                                         {signs: true},
		"[commit]\n gpgsign = true\n[commit]\n gpgsign = no\n":                    {},
		strings.Repeat("[url \"a:\"]\ninsteadOf = b\n", 20):                       {rewrites: slicesOf(gitRewrite{"insteadOf", "b"}, maxRewrites)},
	} {
		var got gitConfig
		got.read(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(gitConfig{}, gitRewrite{})); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func slicesOf(r gitRewrite, n int) (all []gitRewrite) {
	for range n {
		all = append(all, r)
	}
	return all
}

// TestGitGoesByHTTPS asks git itself what it makes of a remote, with a
// configuration of the user's that means ssh.
func TestGitGoesByHTTPS(t *testing.T) {
	for name, config := range map[string]string{
		"nothing":                "",
		"https is ssh":           "[url \"git@github.com:\"]\n insteadOf = https://github.com/\n",
		"all https is ssh":       "[url \"ssh://git@\"]\n insteadOf = https://\n",
		"one owner":              "[url \"git@github.com:acme/\"]\n insteadOf = https://github.com/acme/\n",
		"without a slash":        "[url \"ssh://git@github.com\"]\n insteadOf = https://github.com\n",
		"short form is long":     "[url \"ssh://git@github.com/\"]\n insteadOf = git@github.com:\n",
		"pushes by ssh":          "[url \"git@github.com:\"]\n pushInsteadOf = https://github.com/\n",
		"pushes of one by ssh":   "[url \"git@github.com:acme\"]\n pushInsteadOf = https://github.com/acme\n",
		"long form is short":     "[url \"git@github.com:\"]\n insteadOf = ssh://git@github.com/\n",
		"fetches and pushes, by": "[url \"git@github.com:\"]\n insteadOf = https://github.com/\n pushInsteadOf = https://github.com/\n",
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			var user gitConfig
			user.read(config)
			for _, remote := range []string{"git@github.com:acme/private.git", "ssh://git@github.com/acme/private.git", "https://github.com/acme/private.git"} {
				for _, flag := range []string{"--all", "--push"} {
					if got := remoteURL(t, home, remote, flag, gitEnviron(gitSession(), user)); got != "https://github.com/acme/private.git" {
						t.Errorf("%s %s: %s", remote, flag, got)
					}
				}
			}
		})
	}
}

func remoteURL(t *testing.T, home, remote, flag string, env []string) string {
	t.Helper()
	dir := t.TempDir()
	var out []byte
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", remote}, {"remote", "get-url", flag, "origin"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1"}, env...)
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return strings.TrimSpace(string(out))
}
