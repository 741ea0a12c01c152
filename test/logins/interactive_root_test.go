// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// loginScript is a tool that logs in: with the code, once more, with the refresh
// token, and with what it got at the API.
const loginScript = `
post() { curl -sS -w '\n%{http_code}\n' -H 'Content-Type: application/json' -d "$1" https://platform.claude.com/v1/oauth/token; }
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
post '{"grant_type":"authorization_code","code":"from-the-browser","client_id":"c"}' > first
A=$(field access_token < first); R=$(field refresh_token < first)
echo "access $A"; echo "refresh $R"; tail -1 first
curl -sS -w '%{http_code}\n' -H "Authorization: Bearer $A" https://api.anthropic.com/v1/messages
post '{"grant_type":"authorization_code","code":"from-the-attacker","client_id":"c"}' | tail -1
post '{"grant_type":"refresh_token","refresh_token":"'"$R"'","client_id":"c"}' > second
A=$(field access_token < second); tail -1 second
curl -sS -w '%{http_code}\n' -H "Authorization: Bearer $A" https://api.anthropic.com/v1/messages
`

// TestInteractiveLogin: a login made inside is stored, with what its refresh
// gave last, and the next session uses it; the agent has placeholders alone,
// and logs in once.
func TestInteractiveLogin(t *testing.T) {
	s := claude(t)
	codes := 0
	s.upstream.Serve(claudeToken, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		var body map[string]string
		if err != nil || json.Unmarshal(text, &body) != nil || body["grant_type"] != "authorization_code" {
			r.Body = io.NopCloser(strings.NewReader(string(text)))
			s.service.token(w, r)
			return
		}
		s.service.mu.Lock()
		defer s.service.mu.Unlock()
		codes++
		s.service.access, s.service.refresh = s.service.make("access"), s.service.make("refresh")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"token_type":"Bearer","access_token":%q,"expires_in":28800,"refresh_token":%q,"account":{"uuid":"u","email_address":"me@x.test"}}`,
			s.service.access, s.service.refresh)
	}))
	session := s.session(loginScript)
	session.With, session.Flags = nil, []string{"--login", "claude"}
	r := s.world.Run(session)
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if len(lines) != 9 {
		t.Fatalf("%v\n%s", r, s.world.Read(rig.AuditLog))
	}
	access, refresh := strings.TrimPrefix(lines[0], "access "), strings.TrimPrefix(lines[1], "refresh ")
	if !strings.HasPrefix(access, "sk-ant-oat01-") || refresh == "" || lines[2] != "200" || lines[3] != "welcome Bearer "+access || lines[4] != "200" {
		t.Errorf("%q", lines)
	}
	if lines[5] != "401" || codes != 1 {
		t.Errorf("a second login: %s, %d at the service", lines[5], codes)
	}
	if lines[6] != "200" || lines[8] != "200" || s.service.spent != 0 {
		t.Errorf("refreshed: %q, %d with a spent token", lines, s.service.spent)
	}
	if !strings.Contains(r.Stderr, "a login was made in the session, and is stored") {
		t.Errorf("nobody was told: %s", r.Stderr)
	}
	next := s.world.Run(s.session(useClaude))
	if !strings.HasSuffix(next.Stdout, "200\n") || s.service.spent != 0 {
		t.Errorf("the next session: %v", next)
	}
	s.outside(r, next)
}

// TestLoginIsAsked: without the flag the endpoint takes nothing of the agent's.
func TestLoginIsAsked(t *testing.T) {
	s := claude(t)
	s.importClaude(farAway)
	r := s.world.Run(s.session(`curl -sS -d x https://platform.claude.com/v1/oauth/token; echo "exit $?"`))
	if r.Stdout != "exit 6\n" || s.service.spent != 0 {
		t.Errorf("%v", r)
	}
	for _, bad := range []string{"openai", "nobody"} {
		session := s.session("true")
		session.Flags = []string{"--login", bad}
		if r := s.world.Run(session); r.Exit != 125 || !strings.Contains(r.Stderr, "claude, codex") {
			t.Errorf("%s: %v", bad, r)
		}
	}
	session := s.session("true")
	session.Flags = []string{"--login", "claude"}
	if r := s.world.Run(session); r.Exit != 125 || !strings.Contains(r.Stderr, "already") {
		t.Errorf("beside --with: %v", r)
	}
}

// TestLoginCallback: the browser outside reaches the port at which Codex waits.
func TestLoginCallback(t *testing.T) {
	w := rig.New(t)
	said, says := io.Pipe()
	p := w.Start(rig.Session{Stdout: says, Flags: []string{"--login", "codex"}, Args: []string{"python3", "-c", `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"thank you"); print("code", self.path, flush=True)
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 1455), H)
print("ready", flush=True)
s.handle_request()
`}})
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v: %v", line, err, p.Wait())
	}
	go io.Copy(io.Discard, lines)
	var conn net.Conn
	err := w.Do(func() (err error) {
		conn, err = net.Dial("tcp", "127.0.0.1:1455")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /auth/callback?code=42 HTTP/1.0\r\n\r\n")
	text, err := io.ReadAll(conn)
	r := p.Wait()
	if err != nil || !strings.HasSuffix(string(text), "thank you") || r.Stdout != "ready\ncode /auth/callback?code=42\n" {
		t.Errorf("%v, %q, %v", err, text, r)
	}
}

var farAway = time.Now().Add(time.Hour)
