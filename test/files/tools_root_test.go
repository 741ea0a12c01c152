// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestP9ToolsWorkWithTheCopies runs tools that know nothing but their own
// credential file. What they send from its copy is the placeholder: upstream
// gets the real credential.
func TestP9ToolsWorkWithTheCopies(t *testing.T) {
	const without = "env -u GIT_CONFIG_COUNT -u GH_TOKEN -u GITHUB_TOKEN -u TOOL_TOKEN "
	for name, c := range map[string]struct {
		host, file, text  string // @@ is the credential
		provider, command string
		want              func(key string) string // the field Authorization at upstream
		answer            string
	}{
		"npm": {"npm.corp.test", ".npmrc", "registry=https://npm.corp.test/\n//npm.corp.test/:_authToken=@@\nupdate-notifier=false\n",
			"npm", "npm whoami", bearer, `{"username": "octocat"}`},
		"git": {"git.corp.test", ".git-credentials", "https://octocat:@@@git.corp.test\n",
			"github", without + "git -c credential.helper=store ls-remote https://git.corp.test/x.git; echo octocat", asUser, ""},
		"curl": {"api.corp.test", ".netrc", "machine api.corp.test\nlogin octocat\npassword @@\n",
			"github", "curl -sS --fail-with-body --netrc https://api.corp.test/who", asUser, "octocat"},
		"gh": {"api.github.com", ".config/gh/hosts.yml", "github.com:\n    oauth_token: @@\n    user: octocat\n    git_protocol: https\n",
			"github", without + "gh api user --jq .login", func(key string) string { return "token " + key }, `{"login": "octocat"}`},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoot(t)
			key := rig.CanaryOf(t, "ghp_", 40)
			l.oracle = append(l.oracle, key, base64.StdEncoding.EncodeToString([]byte("octocat:"+key)))
			upstream := rig.NewUpstream(t, l.world.Listen)
			upstream.Serve(c.host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != c.want(key) {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					http.Error(w, "who are you?", http.StatusUnauthorized)
					return
				}
				w.Write([]byte(c.answer))
			}))
			l.world.Give(rig.Home+"/"+c.file, []byte(strings.ReplaceAll(c.text, "@@", key)), 0o600)
			policy := "version: 1\ncredentials:\n  tool: {from: \"" + l.world.Secret("tool", key) + "\", provider: " + c.provider +
				", env: [TOOL_TOKEN], hosts: [" + c.host + ", github.com], inject: [bearer, token, {basic: password}], anonymous: read}\n" + upstream.Hosts()
			r := l.world.Run(rig.Session{Policy: policy, Args: []string{"sh", "-c", c.command}})
			l.clean(r)
			if r.Exit != 0 || !strings.Contains(r.Stdout, "octocat") {
				t.Errorf("%v", r)
			}
			real := 0
			for _, e := range upstream.Exchanges(c.host) {
				if e.Header.Get("Authorization") == c.want(key) {
					real++
				}
			}
			if real == 0 {
				t.Errorf("upstream saw no real credential: %+v\n%v", upstream.Exchanges(c.host), r)
			}
		})
	}
}

func bearer(key string) string { return "Bearer " + key }

func asUser(key string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("octocat:"+key))
}

// TestP9CopiesReadAsTheirFormat gives the copies to readers that are not ours.
func TestP9CopiesReadAsTheirFormat(t *testing.T) {
	l := newLoot(t)
	l.put(".aws/credentials", "[default]\naws_access_key_id = @@\naws_secret_access_key = @@\n\n[p]\nrole_arn = arn:x\nsource_profile = default\n")
	l.put(".docker/config.json", `{"auths": {"r.corp.test": {"auth": "@@"}}, "psFormat": "x"}`)
	l.put(".cargo/credentials.toml", "[registries.corp]\ntoken = \"Bearer @@\"\n[net]\nretry = 2\n")
	l.put(".netrc", "machine a.test login b password @@ machine c.test login d password @@\n")
	l.put(".pypirc", "[distutils]\nindex-servers =\n  pypi\n  corp\n[corp]\nrepository = https://pypi.corp.test/\npassword = @@\n")
	r := l.world.Run(rig.Session{Args: []string{"python3", "-c", `
import configparser, json, netrc, os, tomllib
home = os.path.expanduser("~")
aws = configparser.RawConfigParser(); aws.read(home + "/.aws/credentials")
print(aws.sections(), dict(aws["default"]), dict(aws["p"]))
print(json.load(open(home + "/.docker/config.json")))
print(tomllib.load(open(home + "/.cargo/credentials.toml", "rb")))
print(sorted(netrc.netrc(home + "/.netrc").hosts))
pypi = configparser.RawConfigParser(); pypi.read(home + "/.pypirc")
print(dict(pypi["corp"]), pypi["distutils"]["index-servers"].split())
`}})
	l.clean(r)
	want := `['default', 'p'] {} {'role_arn': 'arn:x', 'source_profile': 'default'}
{'auths': {'r.corp.test': {'auth': ''}}, 'psFormat': 'x'}
{'registries': {'corp': {'token': ''}}, 'net': {'retry': 2}}
['a.test', 'c.test']
{'repository': 'https://pypi.corp.test/'} ['pypi', 'corp']
`
	if r.Stdout != want {
		t.Errorf("read %s\nwant %s\n%s", r.Stdout, want, r.Stderr)
	}
}

// TestP9PolicyNamesFiles masks what the table does not know, a project's file
// among it, and says what a policy names in vain.
func TestP9PolicyNamesFiles(t *testing.T) {
	l := newLoot(t)
	key := rig.CanaryOf(t, "key-", 40)
	l.oracle = append(l.oracle, key)
	l.world.Give(rig.Home+"/.tool/auth.json", []byte(`{"user": "me", "login": {"token": "`+key+`"}}`), 0o600)
	l.world.Give(rig.Work+"/settings.yaml", []byte("a: 1\nkey: "+key+"\n"), 0o600)
	policy := "version: 1\ncredentials:\n  tool:\n    from: \"" + l.world.Secret("tool", key) + `"
    env: [TOOL_TOKEN]
    hosts: [api.corp.test]
    files:
      - {path: ~/.tool/auth.json, format: json, field: /login/token}
      - {path: settings.yaml, format: yaml, field: /key}
      - {path: settings.yaml, format: yaml, field: /other}
      - {path: ~/missing, format: text, field: /}
`
	r := l.world.Run(rig.Session{Policy: policy, Args: []string{"sh", "-c", `echo "$TOOL_TOKEN"; cat ~/.tool/auth.json settings.yaml; echo more >> settings.yaml`}})
	l.clean(r)
	placeholder, rest, _ := strings.Cut(r.Stdout, "\n")
	want := `{"user": "me", "login": {"token": "` + placeholder + `"}}a: 1` + "\nkey: \"" + placeholder + "\"\n"
	if rest != want || r.Exit != 0 {
		t.Errorf("%v\nwant %s", r, want)
	}
	for _, told := range []string{`settings.yaml" has no field "/other"`, `nothing to mask at "` + rig.Home + `/missing"`, "what it writes there is discarded"} {
		if !strings.Contains(r.Stderr, told) {
			t.Errorf("not told: %s\n%s", told, r.Stderr)
		}
	}
	if got := string(l.world.Read(rig.Work + "/settings.yaml")); got != "a: 1\nkey: "+key+"\n" {
		t.Errorf("the real file is %q", got)
	}
}
