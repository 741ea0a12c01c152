// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
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

// callbackTool logs in as Codex does, at the second try: the browser's answer
// comes in one connection, and the page that says so is asked for in another.
// Then it would log in once more.
const callbackTool = `
import http.server, json, subprocess
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/auth/callback?code="):
            body = json.dumps({"grant_type": "authorization_code", "code": self.path.split("=")[1], "client_id": "c"})
            out = subprocess.run(["curl", "-sS", "-H", "Content-Type: application/json", "-d", body, "https://auth.openai.com/oauth/token"], capture_output=True, text=True)
            print("exchanged", sorted(json.loads(out.stdout)), flush=True)
        self.send_response(200); self.end_headers(); self.wfile.write(b"thank you for " + self.path.encode())
    def log_message(self, *a): pass
print("begun", flush=True)
for pages in 1, 2:
    input()
    s = http.server.HTTPServer(("127.0.0.1", 1455), H)
    for page in range(pages): s.handle_request()
    s.server_close()
input()
s = http.server.HTTPServer(("127.0.0.1", 1455), H)
input()
`

// TestLoginCallback: the browser outside reaches the port at which Codex waits,
// and the page after that. The port is the host's own before Codex listens, and
// when it listens no more, while the session goes on. When the login is stored
// the port stays the host's, and the person is told.
func TestLoginCallback(t *testing.T) {
	s := newStay(t, codexAPI, codexToken, func(kind string) string {
		if kind == "refresh" {
			return rig.CanaryOf(t, "rt_", 90)
		}
		return jwt(t, fmt.Sprintf(`{"exp":%d,"sub":"%s"}`, farAway.Unix(), rig.CanaryOf(t, "sub", 24)))
	})
	s.upstream.Serve(codexToken, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"id_token":%q,"expires_in":3600}`, s.service.access, s.service.refresh, s.service.make("id"))
	}))
	said, says := io.Pipe()
	typed, types := io.Pipe()
	told, tells := io.Pipe()
	session := s.session("")
	session.With, session.Flags, session.Stdin, session.Stdout, session.Stderr = nil, []string{"--login", "codex"}, typed, says, tells
	session.Args = []string{"python3", "-c", callbackTool}
	p := s.world.Start(session)
	lines := bufio.NewReader(said)
	awaitLine(t, lines, "begun")
	if text, err := s.browse("/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("before Codex listens: %q, %v", text, err)
	}
	io.WriteString(types, "\n")
	s.browsed("/auth/other", "thank you for /auth/other")
	s.closed()
	io.WriteString(types, "\n")
	s.browsed("/auth/callback?code=42", "thank you for /auth/callback?code=42")
	awaitLine(t, lines, "exchanged ['access_token', 'expires_in', 'id_token', 'refresh_token']")
	s.browsed("/success", "thank you for /success")
	s.closed()
	go io.Copy(io.Discard, lines)
	notices := bufio.NewReader(told)
	if line, err := notices.ReadString('\n'); !strings.Contains(line, "a login was made in the session, and is stored") {
		t.Errorf("told %q, %v", line, err)
	}
	io.WriteString(types, "\n")
	awaitLine(t, notices, "phantom-ns: login codex: a browser's answer will not arrive: proxy: publish: a login is made once in a session; start another session for a second one")
	go io.Copy(io.Discard, notices)
	io.WriteString(types, "\n")
	types.Close()
	r := p.Wait()
	if r.Exit != 0 {
		t.Errorf("%v", r)
	}
	s.outside(r)
}

// TestCallbackPortIsTaken: a login of the user's own outside keeps its port, and
// the person is told, once, however often the tool tries.
func TestCallbackPortIsTaken(t *testing.T) {
	s := newStay(t, codexAPI, codexToken, func(string) string { return rig.CanaryOf(t, "rt_", 90) })
	var own net.Listener
	if err := s.world.Do(func() (err error) {
		own, err = net.Listen("tcp4", "127.0.0.1:1455")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	told, tells := io.Pipe()
	typed, types := io.Pipe()
	session := s.session("")
	session.With, session.Flags, session.Stdin, session.Stderr = nil, []string{"--login", "codex"}, typed, tells
	session.Args = []string{"python3", "-c", "import socket\nfor _ in range(20): socket.create_server(('127.0.0.1', 1455)).close()\ninput()"}
	p := s.world.Start(session)
	lines := bufio.NewReader(told)
	awaitLine(t, lines, "phantom-ns: login codex: a browser's answer will not arrive: listen tcp 127.0.0.1:1455: bind: address already in use")
	more := make(chan string)
	go func() {
		text, _ := io.ReadAll(lines)
		more <- string(text)
	}()
	io.WriteString(types, "\n")
	types.Close()
	r := p.Wait()
	tells.Close()
	if text := <-more; r.Exit != 0 || text != "" {
		t.Errorf("%v %s", r, text)
	}
}

// browsed asks for a page as soon as the port is there.
func (s *stay) browsed(path, want string) {
	s.Helper()
	text, err := s.browseUntil(path, func(err error) bool { return !errors.Is(err, syscall.ECONNREFUSED) })
	if err != nil || !strings.HasSuffix(text, want) {
		s.Fatalf("the browser got %q, %v", text, err)
	}
}

// closed returns when the port is the host's again.
func (s *stay) closed() {
	s.Helper()
	refused := func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
	if text, err := s.browseUntil("/closed", refused); !refused(err) {
		s.Fatalf("the port is still there: %q, %v", text, err)
	}
}

// browseUntil asks again until it is as wanted: the port comes and goes a moment
// after the tool's own.
func (s *stay) browseUntil(path string, wanted func(error) bool) (text string, err error) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if text, err = s.browse(path); wanted(err) {
			break
		}
	}
	return text, err
}

// browse asks for a page of the tool's from the host.
func (s *stay) browse(path string) (string, error) {
	s.Helper()
	var conn net.Conn
	err := s.world.Do(func() (err error) {
		conn, err = net.Dial("tcp", "127.0.0.1:1455")
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

func awaitLine(t *testing.T, lines *bufio.Reader, want string) {
	t.Helper()
	if line, err := lines.ReadString('\n'); line != want+"\n" {
		t.Fatalf("%q, %v; want %q", line, err, want)
	}
}

var farAway = time.Now().Add(time.Hour)
