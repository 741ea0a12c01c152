// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// services are APIs whose libraries send a credential elsewhere than in a
// bearer header, or look at it first.
func services() []client {
	slack := api{"slack", "slack.com", "SLACK_BOT_TOKEN", "xoxb-", 57, false, playSlack}
	telegram := api{"telegram", "api.telegram.org", "TELEGRAM_BOT_TOKEN", "", 45, false, playTelegram}
	pypi := api{"pypi", "upload.pypi.test", "TWINE_PASSWORD", "pypi-", 180, true, playPyPI}
	npm := api{"npm", "npm.corp.test", "NPM_TOKEN", "npm_", 40, true, playNpm}
	twine := []string{"venv/bin/python", "-m", "twine", "upload", "--verbose", "--non-interactive", "--username", "__token__", "--repository-url", "https://upload.pypi.test/legacy/", "hello-1.0-py3-none-any.whl"}
	publish := `mkdir package; cd package
printf '{"name":"hello","version":"1.0.0"}' >package.json
printf '//npm.corp.test/:_authToken=${NPM_TOKEN}\n' >.npmrc
exec npm publish --json --no-update-notifier --fetch-retries 0 --registry https://npm.corp.test/`
	return []client{
		{name: "Slack", api: slack, files: []string{"client_slack.py"}, args: []string{"venv/bin/python", "client_slack.py"}, answers: 1},
		{name: "Telegram", api: telegram, files: []string{"client_telegram.py"}, args: []string{"venv/bin/python", "client_telegram.py"}, answers: 1},
		{name: "twine", api: pypi, args: twine, answers: 1},
		{name: "npm publish", api: npm, args: []string{"/bin/sh", "-ec", publish}, says: "hello@1.0.0"},
	}
}

func TestServicesWorkUnmodified(t *testing.T) {
	for _, c := range services() {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrial(t, c.api)
			if c.name == "Telegram" { // ID:SECRET
				tr.key = "1234567890:" + rig.CanaryOf(t, "AA", 34)
				tr.upstream.Serve(c.api.host, c.api.play(tr.upstream, tr.key))
			}
			tr.provide(nil, c.files)
			tr.world.Give(rig.Work+"/hello-1.0-py3-none-any.whl", wheel(t), 0o644)
			if out := tr.run(c.args...).Stdout; !strings.Contains(out, c.says) {
				t.Errorf("did not print %q:\n%v", c.says, tr.result)
			}
			tr.check(c.answers)
		})
	}
}

// wheel is the smallest that twine uploads.
func wheel(t *testing.T) []byte {
	return rig.Zip(t, [][2]string{
		{"hello/__init__.py", ""},
		{"hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"},
		{"hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"hello-1.0.dist-info/RECORD", ""},
	})
}

// only answers with h where the request is allowed, else with 401.
func only(allowed func(r *http.Request) bool, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !allowed(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h(w, r)
	})
}

func playSlack(u *rig.Upstream, key string) http.Handler {
	return only(func(r *http.Request) bool { return rig.Bearer.Carries(r, key) }, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"user":%q}`, u.Answer)
	})
}

func playTelegram(u *rig.Upstream, key string) http.Handler {
	return only(func(r *http.Request) bool { return r.URL.Path == "/bot"+key+"/getMe" }, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"result":{"id":1234567890,"is_bot":true,"first_name":%q,"username":"b"}}`, u.Answer)
	})
}

func playPyPI(u *rig.Upstream, key string) http.Handler {
	return only(func(r *http.Request) bool { return rig.BasicPassword.Carries(r, key) }, func(w http.ResponseWriter, r *http.Request) {
		if r.ParseMultipartForm(1<<20) != nil || r.FormValue("name") != "hello" || len(r.MultipartForm.File["content"]) != 1 {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, u.Answer)
	})
}

func playNpm(u *rig.Upstream, key string) http.Handler {
	return only(func(r *http.Request) bool {
		return rig.Bearer.Carries(r, key) || rig.BasicPassword.Carries(r, key)
	}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"id":%q}`, u.Answer)
	})
}

// dockerLogin is what docker and podman do: the registry says where tokens are,
// the password is traded in there, and an image pushed with what came of it.
const dockerLogin = `
registry=https://registry.corp.test
curl -sSi $registry/v2/ | tr -d '\r' | sed -n 's/^www-authenticate: Bearer realm="\(.*\)",.*/\1/pI'
token=$(curl -sS --fail-with-body --user "robot:$REGISTRY_PASSWORD" "$registry/jwt/token?service=r&scope=repository:hello:push" | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -sS --fail-with-body -H "Authorization: Bearer $token" $registry/v2/ || echo "login: $?"
curl -sS --fail-with-body -X PUT -d '{}' -H "Authorization: Bearer $token" $registry/v2/hello/manifests/1 || echo "push: $?"
curl -sS -o /dev/null -w '%{http_code}\n' -X PUT -d '{}' $registry/v2/hello/manifests/1
`

// TestDockerLogin: the password and the token that it is traded in for are both
// outside; without either a registry is read, and not written.
func TestDockerLogin(t *testing.T) {
	tr := newTrial(t, api{"registry", "registry.corp.test", "REGISTRY_PASSWORD", "dckr_pat_", 36, true, nil})
	token := rig.CanaryOf(t, "eyJhbGciOiJSUzI1NiJ9.", 300)
	tr.upstream.Serve(tr.api.host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/jwt/token" && rig.BasicPassword.Carries(r, tr.key):
			fmt.Fprintf(w, `{"token":%q,"access_token":%q,"expires_in":300}`, token, token)
		case strings.HasPrefix(r.URL.Path, "/v2/") && rig.Bearer.Carries(r, token):
			fmt.Fprintln(w, r.Method, r.URL.Path, tr.upstream.Answer)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://registry.corp.test/jwt/token",service="r"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	r := tr.run("sh", "-c", dockerLogin)
	_, printed, _ := strings.Cut(r.Stdout, "\n--\n")
	want := fmt.Sprintf("https://registry.corp.test/jwt/token\nGET /v2/ %[1]s\nPUT /v2/hello/manifests/1 %[1]s\n401\n", tr.upstream.Answer)
	if r.Exit != 0 || printed != want {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	if n := len(tr.upstream.Exchanges(tr.api.host)); n != 4 { // not the last
		t.Errorf("%d requests upstream", n)
	}
	tr.checkEnvironment()
	tr.checkAudit()
	tr.checkAgent()
	tr.key = token
	tr.checkAgent()
}
