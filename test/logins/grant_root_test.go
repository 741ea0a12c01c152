// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestClientCredentials: the proxy trades a client's secret in, once for several
// requests; the agent sees neither secret nor token, nor the endpoint.
func TestClientCredentials(t *testing.T) {
	w := rig.New(t)
	up := rig.NewUpstream(t, w.Listen)
	secret, token := rig.CanaryOf(t, "cs/+&", 40), rig.CanaryOf(t, "at-", 300)
	var asked atomic.Int32
	up.Serve("login.corp.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/oauth/v2/token" || r.PostFormValue("client_secret") != secret || r.PostFormValue("client_id") != "id 42" ||
			r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "read write" || r.PostFormValue("audience") != "" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, token)
	}))
	up.Serve("api.corp.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			rw.WriteHeader(http.StatusUnauthorized)
		}
		io.WriteString(rw, "sent "+r.Header.Get("Authorization")+" made of "+secret+"\n")
	}))
	if r := w.Command(strings.NewReader(secret), "secret", "set", "corp", "--host", "api.corp.test"); r.Exit != 0 {
		t.Fatal(r)
	}
	r := w.Run(rig.Session{Policy: "version: 1\n" + up.Hosts() + `
credentials:
  corp:
    env: [CORP_TOKEN]
    grant: {token: "https://login.corp.test/oauth/v2/token", client: id 42, scope: read write}
`, Args: []string{"sh", "-c", `for i in 1 2 3; do curl -sS -f -H "Authorization: Bearer $CORP_TOKEN" https://api.corp.test/; done; curl -sS https://login.corp.test/oauth/v2/token; echo "exit $?"`}})
	if strings.Count(r.Stdout, "sent Bearer ") != 3 || !strings.Contains(r.Stdout, "exit 6\n") || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", r, asked.Load())
	}
	oracle := rig.NewOracle(secret, token)
	if hits := append(oracle.Bytes("output", r.Bytes()), oracle.Bytes("audit", w.Read(rig.AuditLog))...); len(hits) > 0 {
		t.Errorf("in the agent's reach: %v", hits)
	}
}

// TestC12ClientSecretStoredAnew: the next request of a running session is made
// with a token that the new secret was traded in for; a secret that is fetched
// again and is the same changes nothing.
func TestC12ClientSecretStoredAnew(t *testing.T) {
	w := rig.New(t)
	up := rig.NewUpstream(t, w.Listen)
	var mu sync.Mutex
	secrets, traded := []string{rig.CanaryOf(t, "cs-", 40), rig.CanaryOf(t, "cs-", 40)}, []string(nil)
	tokens := []string{rig.CanaryOf(t, "at-", 60), rig.CanaryOf(t, "at-", 60)}
	up.Serve("login.corp.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		secret := r.PostFormValue("client_secret")
		mu.Lock()
		traded = append(traded, secret)
		mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"access_token":%q,"expires_in":3600}`, tokens[slices.Index(secrets, secret)])
	}))
	up.Serve("api.corp.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(rw, "sent", r.Header.Get("Authorization"), "made of", traded)
	}))
	set := func(secret string) {
		t.Helper()
		if r := w.Command(strings.NewReader(secret), "secret", "set", "corp", "--host", "api.corp.test"); r.Exit != 0 {
			t.Fatal(r)
		}
	}
	set(secrets[0])
	in, says := io.Pipe()
	heard, out := io.Pipe()
	process := w.Start(rig.Session{Policy: "version: 1\n" + up.Hosts() + `
credentials:
  corp:
    env: [CORP_TOKEN]
    grant: {token: "https://login.corp.test/oauth/v2/token", client: "42"}
`, Stdin: in, Stdout: out, Args: []string{"sh", "-c", `while read line; do curl -sSf -m 20 -H "Authorization: Bearer $CORP_TOKEN" https://api.corp.test/ || echo refused; done`}})
	t.Cleanup(func() { says.Close(); heard.Close() })
	answers := bufio.NewScanner(heard)
	var printed strings.Builder
	use := func(token string) {
		t.Helper()
		io.WriteString(says, "\n")
		if !answers.Scan() {
			t.Fatal("the agent has gone")
		}
		fmt.Fprintln(&printed, answers.Text())
		all := up.Exchanges("api.corp.test")
		if got := all[len(all)-1].Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("upstream got %q, want %q", got, token)
		}
	}
	use(tokens[0])
	set(secrets[1])
	use(tokens[1])
	if r := w.Command(nil, "reload"); r.Exit != 0 {
		t.Errorf("reload: %v", r)
	}
	use(tokens[1])
	if r := w.Command(nil, "secret", "rm", "corp"); r.Exit != 0 || !strings.Contains(r.Stderr, "use it no more") {
		t.Errorf("secret rm: %v", r)
	}
	before := len(up.Exchanges("api.corp.test"))
	io.WriteString(says, "\n")
	if answers.Scan(); len(up.Exchanges("api.corp.test")) != before {
		t.Errorf("a removed secret's token was used: %q", answers.Text())
	}
	set(secrets[0])
	use(tokens[0])
	says.Close()
	go io.Copy(io.Discard, heard)
	result := process.Wait()
	if want := []string{secrets[0], secrets[1], secrets[0]}; !slices.Equal(traded, want) {
		t.Errorf("traded in: %q, want %q", traded, want)
	}
	oracle := rig.NewOracle(slices.Concat(secrets, tokens)...)
	hits := append(oracle.Bytes("output", []byte(printed.String()+result.Stderr)), oracle.Bytes("audit", w.Read(rig.AuditLog))...)
	if len(hits) > 0 {
		t.Errorf("in the agent's reach: %v", hits)
	}
}

// TestC10InASession: what an endpoint of a bound host hands out, end to end: the
// agent gets placeholders, and they work for it.
func TestC10InASession(t *testing.T) {
	w := rig.New(t)
	up := rig.NewUpstream(t, w.Listen)
	key := rig.CanaryOf(t, "eyJ", 300)
	token := rig.CanaryOf(t, "ghs_", 40)
	up.Serve("api.github.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch got := r.Header.Get("Authorization"); {
		case r.URL.Path == "/app/installations/42/access_tokens" && r.Method == "POST" && got == "Bearer "+key:
			rw.WriteHeader(http.StatusCreated)
			fmt.Fprintf(rw, `{"token":%q,"expires_at":"2099-01-01T00:00:00Z","permissions":{"contents":"read"}}`, token)
		case got == "token "+token:
			io.WriteString(rw, "repository, for "+got+"\n")
		default:
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}))
	if r := w.Command(strings.NewReader(key), "secret", "set", "github-app"); r.Exit != 0 {
		t.Fatal(r)
	}
	r := w.Run(rig.Session{Policy: "version: 1\n" + up.Hosts(), With: []string{"github-app"}, Args: []string{"sh", "-c",
		`T=$(curl -sS -f -X POST -H "Authorization: Bearer $GITHUB_APP_JWT" https://api.github.com/app/installations/42/access_tokens | sed 's/.*"token":"\([^"]*\)".*/\1/')
		echo "$T"; curl -sS -f -H "Authorization: token $T" https://api.github.com/repos/a/b`}})
	lines := strings.Split(r.Stdout, "\n")
	if r.Exit != 0 || len(lines) != 3 || !strings.HasPrefix(lines[0], "ghs_") || len(lines[0]) != 40 || lines[1] != "repository, for token "+lines[0] {
		t.Errorf("%v", r)
	}
	oracle := rig.NewOracle(key, token)
	if hits := append(oracle.Bytes("output", r.Bytes()), oracle.Bytes("audit", w.Read(rig.AuditLog))...); len(hits) > 0 {
		t.Errorf("in the agent's reach: %v", hits)
	}
}
