// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// The credential of the tests, and what stands for it.
const (
	realKey     = "REAL-credential-of-the-user-7Q2x"
	placeholder = "ghp_placeholder0000000000000000000000000"
)

func session() credentials {
	return credentials{
		[]policy.Credential{
			{Name: "gh", Provider: "github", Hosts: []string{"github.com", "api.github.com"}},
			{Name: "npm", Hosts: []string{"*.corp.test"}},
			{Name: "aws", Provider: "aws", Positions: []policy.Position{{Kind: policy.PositionSigV4}}},
		},
		map[string]string{"gh": placeholder, "npm": "npm-placeholder", "aws": "AKIAPLACEHOLDER:secret-placeholder"},
	}
}

// known is what the table says of a path.
func known(t *testing.T, path string) ([]secret, string) {
	t.Helper()
	for _, f := range policy.KnownFiles() {
		if f.Path == path {
			var all []secret
			for _, s := range f.Secrets {
				all = append(all, secret{s, false})
			}
			return all, f.Format
		}
	}
	t.Fatalf("the table lacks %s", path)
	return nil, ""
}

func TestCopies(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("me:" + realKey))
	for name, c := range map[string]struct{ path, file, want string }{ // % is the credential
		"npmrc": {"~/.npmrc",
			"; mine\nregistry=https://a.corp.test/\n//a.corp.test/npm/:_authToken=%\n//x.test/:_authToken = \"%\"\n//y.test/:_authToken=${NPM_TOKEN}\nalways-auth=true\n_auth=%\n",
			"; mine\nregistry=https://a.corp.test/\n//a.corp.test/npm/:_authToken=npm-placeholder\n//y.test/:_authToken=${NPM_TOKEN}\nalways-auth=true\n"},
		"npmrc, basic": {"~/.npmrc",
			"//a.corp.test/:_auth=" + basic + "\n//a.corp.test/:_password=%\n//a.corp.test/:username=me\n",
			"//a.corp.test/:_auth=" + base64.StdEncoding.EncodeToString([]byte("me:npm-placeholder")) + "\n//a.corp.test/:_password=" +
				base64.StdEncoding.EncodeToString([]byte("npm-placeholder")) + "\n//a.corp.test/:username=me\n"},
		"netrc": {"~/.netrc",
			"# mine\nmachine github.com\n\tlogin me\n\tpassword %\nmachine x.test login \"a b\" password \"% \\\" x\" account %\nmacdef init\ncd /x\n\ndefault login anonymous password me%\n",
			"# mine\nmachine github.com\n\tlogin me\n\tpassword " + placeholder + "\nmachine x.test login \"a b\"  \nmacdef init\ncd /x\n\ndefault login anonymous \n"},
		"git-credentials": {"~/.git-credentials",
			"https://me:%@github.com\nhttps://%@x.test/a/b\nhttps://%:x-oauth-basic@gitlab.test\nhttps://plain.test\n",
			"https://me:" + placeholder + "@github.com\nhttps://plain.test\n"},
		"gh": {"~/.config/gh/hosts.yml",
			"github.com:\n    git_protocol: https\n    users:\n        me:\n            oauth_token: %\n    user: me\n    oauth_token: '%'\n\"x.test\":\n    oauth_token: % # old: %\n",
			"github.com:\n    git_protocol: https\n    users:\n        me:\n            oauth_token: \"" + placeholder + "\"\n    user: me\n    oauth_token: \"" + placeholder + "\"\n\"x.test\":\n    oauth_token: \"\" # old: \n"},
		"kubeconfig": {"~/.kube/config",
			"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: LS0tCg==\n    server: https://127.0.0.1:6443\n  name: kind\nkind: Config\npreferences: {}\nusers:\n- name: kind\n  user:\n    client-certificate-data: LS0tCg==\n    client-key-data: %\n- name: b\n  user:\n    exec:\n      apiVersion: x/v1\n      args: [token, --cluster, kind]\n      command: aws\n      env:\n      - name: A\n        value: %\n- {name: c, user: {token: %}}\n",
			"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: LS0tCg==\n    server: https://127.0.0.1:6443\n  name: kind\nkind: Config\npreferences: {}\nusers:\n- name: kind\n  user:\n    client-certificate-data: LS0tCg==\n    client-key-data: \"\"\n- name: b\n  user:\n    exec:\n      apiVersion: x/v1\n      args: [token, --cluster, kind]\n      command: aws\n      env:\n      - name: A\n        value: \"\"\n- null\n"},
		"kubeconfig in JSON": {"~/.kube/config",
			`{"users": [{"name": "a", "user": {"token": "%"}}]}`, `{"users": [{"name": "a", "user": {"token": ""}}]}`},
		"docker": {"~/.docker/config.json",
			"{\n\t\"auths\": {\n\t\t\"https://a.corp.test/v1/\": {\n\t\t\t\"auth\": \"" + basic + "\"\n\t\t},\n\t\t\"x.test\": {\"AUTH\": \"" + basic + "\", \"identitytoken\": \"%\"}\n\t},\n\t\"detachKeys\": \"ctrl-e,e\"\n}\n",
			"{\n\t\"auths\": {\n\t\t\"https://a.corp.test/v1/\": {\n\t\t\t\"auth\": \"" + base64.StdEncoding.EncodeToString([]byte("me:npm-placeholder")) + "\"\n\t\t},\n\t\t\"x.test\": {\"AUTH\": \"\", \"identitytoken\": \"\"}\n\t},\n\t\"detachKeys\": \"ctrl-e,e\"\n}\n"},
		"aws": {"~/.aws/credentials",
			"[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = %\n  %\n[other]\ncredential_process = /bin/x\nAWS_SESSION_TOKEN=%\n",
			"[default]\naws_access_key_id = AKIAPLACEHOLDER\naws_secret_access_key = secret-placeholder\n[other]\ncredential_process = /bin/x\n"},
		"gitconfig": {"~/.gitconfig",
			"[user]\n\tname = Me\n[url \"https://me:%@github.com/\"]\n\tinsteadOf = gh:\n[http \"https://x.test\"]\n\textraHeader = Authorization: basic \\\n%\n\tsslVerify = true\n",
			"[user]\n\tname = Me\n[url \"https://me:" + placeholder + "@github.com/\"]\n\tinsteadOf = gh:\n[http \"https://x.test\"]\n\tsslVerify = true\n"},
		"pip.conf": {"~/.config/pip/pip.conf",
			"[global]\nindex-url = https://me:%@pypi.corp.test/simple\nextra-index-url =\n    https://x:%@x.test/simple\n",
			"[global]\nindex-url = https://me:npm-placeholder@pypi.corp.test/simple\nextra-index-url =\n    https://x:@x.test/simple\n"},
		"cargo": {"~/.cargo/credentials.toml",
			"# mine\n[registry]\ntoken = \"%\" # old\n\n[registries.a]\ntoken = '''\n%'''\n[registries.\"b.c\"]\nx = [1, # ]\n 2]\ntoken = { a = \"%\" }\n",
			"# mine\n[registry]\ntoken = \"\" # old\n\n[registries.a]\ntoken = \"\"\n[registries.\"b.c\"]\nx = [1, # ]\n 2]\ntoken = \"\"\n"},
		"maven": {"~/.m2/settings.xml",
			"<?xml version=\"1.0\"?>\n<settings xmlns=\"http://x\"><!-- a -->\n <servers><server><id>a</id><username>me</username>\n <password>%</password></server></servers>\n <mirrors><mirror><url>https://me:%@mvn.corp.test/</url></mirror></mirrors></settings>\n",
			"<?xml version=\"1.0\"?>\n<settings xmlns=\"http://x\"><!-- a -->\n <servers><server><id>a</id><username>me</username>\n <password></password></server></servers>\n <mirrors><mirror><url>https://me:npm-placeholder@mvn.corp.test/</url></mirror></mirrors></settings>\n"},
		"nuget": {"~/.nuget/NuGet/NuGet.Config",
			"<configuration><packageSources><add key=\"a\" value=\"https://x.test/\" /></packageSources><packageSourceCredentials><a>\n<add key=\"Username\" value=\"me\" />\n<add key=\"ClearTextPassword\" value=\"%\" />\n</a></packageSourceCredentials></configuration>",
			"<configuration><packageSources><add key=\"a\" value=\"https://x.test/\" /></packageSources><packageSourceCredentials><a>\n<add key=\"Username\" value=\"me\" />\n\n</a></packageSourceCredentials></configuration>"},
		"text": {"~/.cache/huggingface/token", "%\n", "\n"},
		"claude": {"~/.claude.json",
			`{"numStartups": 3, "lastTotalInputTokens": 12, "customApiKeyResponses": {"approved": ["abc"]}, "primaryApiKey": "%", "mcpServers": {"x": {"env": {"A": "%"}}}}`,
			`{"numStartups": 3, "lastTotalInputTokens": 12, "customApiKeyResponses": {"approved": ["abc"]}, "primaryApiKey": "", "mcpServers": {"x": {"env": {"A": ""}}}}`},
		"codex": {"~/.codex/auth.json",
			`{"OPENAI_API_KEY": null, "tokens": {"id_token": "%", "account_id": "acct"}, "last_refresh": "2026"}`,
			`{"OPENAI_API_KEY": null, "tokens": {"id_token": "", "account_id": "acct"}, "last_refresh": "2026"}`},
	} {
		t.Run(name, func(t *testing.T) {
			secrets, format := known(t, c.path)
			file := strings.ReplaceAll(c.file, "%", realKey)
			out, err := apply(format, []byte(file), secrets, session())
			if err != nil {
				t.Fatal(err)
			}
			if string(out.copy) != c.want || out.changed != (file != c.want) {
				t.Errorf("of %q\ngot  %q\nwant %q", file, out.copy, c.want)
			}
		})
	}
}

// What is not understood is refused: the caller empties it.
func TestNotUnderstood(t *testing.T) {
	for format, files := range map[string][]string{
		policy.FormatJSON:           {`{"a": "b"`, `{"a": "b"} {"token": "x"}`, "\xef\xbb\xbf{}", "// x\n{}", strings.Repeat("[", 100) + strings.Repeat("]", 100)},
		policy.FormatYAML:           {"a: &x b\nc: *x\n", "a: !!str b\n", "a: b\n---\nc: d\n", "a: b\n  c\n", "a: \"b\n c\"\n", "? a\n: b\n", "<<: x\n", "a: {b: c,\n d: e}\n", "a:\n\tb: c\n", "a: b: c\n"},
		policy.FormatTOML:           {"a", "a = \"b", "[a\nb = 1\n", "a = 1\nb\n", "a = [1\n", "a = \"b\" c\n"},
		policy.FormatXML:            {"<a>", "<a></b>", "<a>&x;</a>", "<?xml version='1.0' encoding='latin1'?><a/>", strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)},
		policy.FormatINI:            {"[a\nb = c\n", "a = b\x00\n", "a = \xff\n"},
		policy.FormatNetrc:          {"machine\n", "\"\" machine a password b\n", "password x\n", "machine a login b passwd c\n", "machine a password \"b\n"},
		policy.FormatGitCredentials: {"x", "https://a:b@c\n:://\n"},
	} {
		for _, file := range files {
			out, err := apply(format, []byte(file), nil, session())
			if err == nil {
				t.Errorf("%s: %q was understood as %q", format, file, out.copy)
				continue
			}
			// What the user is told quotes nothing: it may be the credential.
			told := reason(err)
			if told != "its syntax is broken" && !slices.ContainsFunc(ownErrors, func(own error) bool { return own.Error() == told }) {
				t.Errorf("%s: %q is told as %q", format, file, told)
			}
		}
	}
}

// A file that an agent planted for a later session costs no more than others.
func TestD3HostileFilesAreBounded(t *testing.T) {
	const size = 128 << 10
	fill := func(text string) string { return strings.Repeat(text, size/len(text)) }
	secrets := []secret{{policy.FileSecret{Field: []string{"**", "*token*"}}, false}}
	for name, c := range map[string]struct {
		format, file string
		refused      bool
	}{
		"backslashes":     {policy.FormatINI, fill("a\\\n"), true},
		"indentation":     {policy.FormatINI, fill("a=b\n c=d\n  e=f\n"), false},
		"macros":          {policy.FormatNetrc, fill("macdef a\n\n"), false},
		"sequences":       {policy.FormatYAML, fill("- "), true},
		"logins":          {policy.FormatINI, fill("token=01234567\n"), true},
		"logins in JSON":  {policy.FormatJSON, "[" + fill(`{"token":"0123456789"},`) + "0]", true},
		"URLs":            {policy.FormatINI, fill("x://a:b@c "), false},
		"keys":            {policy.FormatINI, fill("sk-0123456789abcdef "), false},
		"comments":        {policy.FormatYAML, "a: b\n" + fill("#\n"), false},
		"inline tables":   {policy.FormatTOML, "a = " + fill("["), true},
		"quotes":          {policy.FormatNetrc, fill("\""), true},
		"elements":        {policy.FormatXML, fill("<a>"), true},
		"objects in JSON": {policy.FormatJSON, fill(`{"a":`), true},
	} {
		if _, err := apply(c.format, []byte(c.file), secrets, session()); (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path, host string
		want                bool
	}{
		{"/a/b", "/a/b", "", true}, {"/a/b", "/A/B", "", true}, {"/a/b", "/a", "", false}, {"/a", "/a/b", "", false},
		{"/{host}/x", "/h.test/x", "h.test", true}, {"/{host}/x", "/https:~1~1u@h.test:1~1v/x", "h.test", true},
		{"/**/t", "/t", "", true}, {"/**/t", "/a/b/t", "", true}, {"/**/t", "/a/b", "", false},
		{"/*token*", "/myTokenX", "", true}, {"/a*b", "/ab", "", true}, {"/a*b", "/abc", "", false}, {"/*", "/x", "", true},
	} {
		pattern, _ := policy.ParseField(c.pattern)
		path, _ := policy.ParseField(c.path)
		if host, ok := matchPath(pattern, path); ok != c.want || host != c.host {
			t.Errorf("%s on %s: %v, %q", c.pattern, c.path, ok, host)
		}
	}
}

// A file that holds nothing secret is left alone, whatever its spelling.
func TestNothingSecretChangesNothing(t *testing.T) {
	for format, file := range map[string]string{
		policy.FormatJSON: " { \"a\" : [1,2.50,\"\\u00e9\"],\n\"b\":null}\n\n", policy.FormatYAML: "---\na:   b # c\nd:\n- e\n-  f: |\n    g: h\n   i: 'j'\n\n",
		policy.FormatINI: "\n a = b ; c\r\n[d]\r\n", policy.FormatTOML: "a.\"b c\" = 1979-05-27T07:32:00Z\n[[x]]\ny = \"\"\"z\"\"\"\"\n",
		policy.FormatNetrc: "machine a\n  login b # c\n", policy.FormatNpmrc: "x[]=1\nx[]=2\n",
	} {
		if format == policy.FormatNetrc {
			file = "machine a\n  login b\n# c\n"
		}
		out, err := apply(format, []byte(file), []secret{{policy.FileSecret{Field: []string{"**", "*token*"}}, false}}, session())
		if err != nil || out.changed || string(out.copy) != file {
			t.Errorf("%s: %q, %v", format, out.copy, err)
		}
	}
}

// FuzzCopy: whatever stands in a field of that name is gone, or nothing is shown.
func FuzzCopy(f *testing.F) {
	names := []string{policy.FormatINI, policy.FormatJSON, policy.FormatYAML, policy.FormatTOML, policy.FormatNetrc, policy.FormatNpmrc, policy.FormatGitCredentials, policy.FormatText, policy.FormatXML}
	for i := range names {
		for _, seed := range []string{
			"[a]\ntoken = " + realKey + "\n", `{"a": {"token": "` + realKey + `"}}`, "a:\n- token: " + realKey + "\n",
			"machine a password " + realKey + "\n", "https://a:" + realKey + "@b\n",
			"<a><token>" + realKey + "</token></a>",
		} {
			f.Add(i, []byte(seed))
		}
	}
	secrets := []secret{
		{policy.FileSecret{Field: []string{"**", "token"}}, false}, {policy.FileSecret{Field: []string{"**", "password"}}, false},
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		name := names[uint(which)%uint(len(names))]
		fields, err := formats[name].scan(data)
		if err != nil {
			return
		}
		for _, f := range fields {
			if f.at.start < 0 || f.at.end < f.at.start || f.at.end > len(data) {
				t.Fatalf("%s: a field at %v of %d", name, f.at, len(data))
			}
		}
		out, err := apply(name, data, secrets, credentials{})
		if err != nil {
			return
		}
		again, err := apply(name, out.copy, secrets, credentials{})
		if err == nil && bytes.Contains(again.copy, []byte(realKey)) && len(fields) == 1 && fields[0].value == realKey {
			if i, _ := match(secrets, fields[0]); i >= 0 {
				t.Fatalf("%s: %q shows the credential: %q", name, data, again.copy)
			}
		}
	})
}
