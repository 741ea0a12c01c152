// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"fmt"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// loot is a home full of credentials.
type loot struct {
	*testing.T
	world *rig.World

	oracle []string // every credential in it
}

func newLoot(t *testing.T) *loot {
	return &loot{T: t, world: rig.New(t)}
}

// put makes a file of the user's with a fresh credential in place of each @@.
func (l *loot) put(name, text string) string {
	l.Helper()
	key := rig.CanaryOf(l.T, "", 40)
	l.oracle = append(l.oracle, key)
	l.world.Give(rig.Home+"/"+name, []byte(strings.ReplaceAll(text, "@@", key)), 0o600)
	return key
}

// clean wants none of the credentials in what the agent saw.
func (l *loot) clean(r rig.Result) {
	l.Helper()
	if hits := rig.NewOracle(l.oracle...).Bytes("output", r.Bytes()); len(hits) > 0 {
		l.Errorf("the agent saw %v\n%v", hits, r)
	}
}

// TestP9CredentialFilesAreMasked reads every kind of credential file by every
// path there is to it.
func TestP9CredentialFilesAreMasked(t *testing.T) {
	l := newLoot(t)
	github := l.put(".config/gh/hosts.yml", "github.com:\n    user: octocat\n    oauth_token: @@\n    git_protocol: https\n")
	l.world.Command(strings.NewReader(github), "secret", "set", "github")
	l.put(".npmrc", "registry=https://npm.corp.test/\n//npm.corp.test/:_authToken=@@\n; a comment\n")
	l.put(".netrc", "machine github.com login octocat password @@\nmachine x.test login me password @@2@@2\n")
	l.put(".git-credentials", "https://octocat:@@@github.com\nhttps://me:@@@git.corp.test\n")
	l.put(".aws/credentials", "[default]\naws_access_key_id = AKIA@@\naws_secret_access_key = @@\nregion = eu-west-1\n")
	l.put(".pypirc", "[distutils]\nindex-servers = pypi\n[pypi]\nusername = __token__\npassword = pypi-@@\n")
	l.put(".docker/config.json", `{"auths": {"r.corp.test": {"auth": "@@"}}, "credsStore": "none"}`)
	l.put(".kube/config", "apiVersion: v1\nkind: Config\nusers:\n- name: me\n  user:\n    token: @@\nclusters: []\n")
	l.put(".codex/auth.json", `{"OPENAI_API_KEY": "@@", "tokens": {"id_token": "@@", "refresh_token": "@@"}}`)
	l.put(".claude/.credentials.json", `{"claudeAiOauth": {"accessToken": "@@", "refreshToken": "@@", "expiresAt": 1}}`)
	l.put(".cargo/credentials.toml", "[registry]\ntoken = \"@@\"\n")
	l.put(".ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n@@\n")
	l.put(".ssh/work", "@@\n")
	l.world.Give(rig.Home+"/.ssh/known_hosts", []byte("github.com ssh-ed25519 AAAA\n"), 0o600)
	l.put(".gnupg/private-keys-v1.d/x.key", "@@")
	l.put(".mozilla/firefox/p/logins.json", `{"x": "@@"}`)
	l.put(".vault-token", "@@")
	l.put(".local/share/opencode/auth.json", `{"broken": "@@"`)
	r := l.world.Run(rig.Session{With: []string{"github"}, Args: []string{"sh", "-c", `
		cd ~
		find . -path ./work -prune -o -type f -print -exec cat {} + 2>/dev/null
		echo "GH_TOKEN=$GH_TOKEN"
		cat /proc/self/root$HOME/.netrc /proc/self/cwd/.aws/credentials
		mv .netrc netrc2 && cat netrc2 && echo moved
		stat -c '%a %U' .npmrc .claude/.credentials.json`}})
	l.clean(r)
	if r.Exit != 0 {
		t.Fatal(r)
	}
	_, token, _ := strings.Cut(r.Stdout, "GH_TOKEN=")
	token, _, _ = strings.Cut(token, "\n")
	for _, want := range []string{
		"    user: octocat\n    oauth_token: \"" + token + "\"\n    git_protocol: https\n",
		"registry=https://npm.corp.test/\n; a comment\n",
		"machine github.com login octocat password " + token + "\nmachine x.test login me \n",
		"https://octocat:" + token + "@github.com\n",
		"[default]\nregion = eu-west-1\n",
		"username = __token__\n",
		`{"auths": {"r.corp.test": {"auth": ""}}, "credsStore": "none"}`,
		"  user:\n    token: \"\"\n",
		`{"OPENAI_API_KEY": "", "tokens": {"id_token": "", "refresh_token": ""}}`,
		`"expiresAt": 1`,
		"[registry]\ntoken = \"\"\n",
		"github.com ssh-ed25519 AAAA\n",
		"moved\n",
		"600 phantom-test\n600 phantom-test\n",
	} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("the copies lack %q", want)
		}
	}
	if strings.Contains(r.Stdout, "git.corp.test") || !strings.Contains(r.Stderr, "opencode/auth.json") {
		t.Errorf("%v", r)
	}
	if t.Failed() {
		fmt.Println(r)
	}
}
