// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// Names that the providers of logins have.
const (
	claudeAPI   = "api.anthropic.com"
	claudeToken = "platform.claude.com"
	codexAPI    = "chatgpt.com"
	codexToken  = "auth.openai.com"
)

// service is a stand-in for a subscription's token endpoint and API. Each
// refresh token is good once, as the real ones' are.
type service struct {
	t       *testing.T
	mu      sync.Mutex
	access  string
	refresh string
	life    time.Duration
	make    func(kind string) string // a token
	count   int                      // of refreshes
	spent   int                      // refresh tokens that were sent again
	fail    func(w http.ResponseWriter) bool
	ask     func(r *http.Request, body map[string]string)
}

func (s *service) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := io.ReadAll(r.Body)
	var body map[string]string
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if s.ask != nil {
		s.ask(r, body)
	}
	if s.fail != nil && s.fail(w) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil || body["grant_type"] != "refresh_token" || body["refresh_token"] != s.refresh || body["client_id"] == "" {
		s.spent++
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	s.count++
	s.access, s.refresh = s.make("access"), s.make("refresh")
	fmt.Fprintf(w, `{"token_type":"Bearer","access_token":%q,"refresh_token":%q,"id_token":%q,"expires_in":%d}`,
		s.access, s.refresh, s.make("id"), int(s.life.Seconds()))
}

// api answers who sends the access token, and shows it what came.
func (s *service) api(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+s.access {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, "welcome %s\n", r.Header.Get("Authorization"))
}

func jwt(t *testing.T, claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + strings.ReplaceAll(rig.CanaryOf(t, "sig", 86), "~", "_")
}

// stay is a world in which sessions use a login.
type stay struct {
	*testing.T
	world    *rig.World
	upstream *rig.Upstream
	service  *service
	real     []string // every token there ever was
}

func newStay(t *testing.T, api, token string, make func(kind string) string) *stay {
	t.Helper()
	w := rig.New(t)
	s := &stay{T: t, world: w, upstream: rig.NewUpstream(t, w.Listen)}
	s.service = &service{t: t, life: time.Hour, make: func(kind string) string {
		text := make(kind)
		s.real = append(s.real, text)
		return text
	}}
	s.service.access, s.service.refresh = s.service.make("access"), s.service.make("refresh")
	s.upstream.Serve(api, http.HandlerFunc(s.service.api))
	s.upstream.Serve(token, http.HandlerFunc(s.service.token))
	return s
}

func claude(t *testing.T) *stay {
	return newStay(t, claudeAPI, claudeToken, func(kind string) string {
		return rig.CanaryOf(t, map[string]string{"access": "sk-ant-oat01-", "refresh": "sk-ant-ort01-", "id": "idid"}[kind], 108)
	})
}

// importClaude stores a login as Claude Code keeps it, that ends at the time.
func (s *stay) importClaude(ends time.Time) {
	s.Helper()
	file := fmt.Sprintf(`{"claudeAiOauth":{"accessToken":%q,"refreshToken":%q,"expiresAt":%d,"scopes":["user:inference"],"subscriptionType":"max"}}`,
		s.service.access, s.service.refresh, ends.UnixMilli())
	s.world.Give(rig.Home+"/login.json", []byte(file), 0o600)
	if r := s.world.Command(nil, "secret", "set", "claude", "--from-file", rig.Home+"/login.json"); r.Exit != 0 || strings.Contains(r.Stdout+r.Stderr, s.service.refresh) {
		s.Fatalf("import: %v", r)
	}
	s.world.Give(rig.Home+"/login.json", []byte("{}"), 0o600)
}

func (s *stay) session(script string) rig.Session {
	return rig.Session{Policy: "version: 1\n" + s.upstream.Hosts(), With: []string{"claude"}, Args: []string{"sh", "-c", script}}
}

// outside wants no real token where the agent could see it.
func (s *stay) outside(results ...rig.Result) {
	s.Helper()
	oracle := rig.NewOracle(s.real...)
	var hits []rig.Hit
	for _, r := range results {
		hits = append(hits, oracle.Bytes("output", r.Bytes())...)
	}
	hits = append(hits, oracle.Bytes("audit", s.world.Read(rig.AuditLog))...)
	err := s.world.Do(func() error {
		found, err := oracle.Files(rig.Home)
		hits = append(hits, found...)
		return err
	})
	if err != nil || len(hits) > 0 {
		s.Errorf("a real token is in the agent's reach: %v %v", hits, err)
	}
}

const useClaude = `curl -sS -w '%{http_code}\n' -H "Authorization: Bearer $CLAUDE_CODE_OAUTH_TOKEN" https://api.anthropic.com/v1/messages`

// TestImportedLogin: the access token is used while it lasts, and refreshed by
// the proxy when it ends; the next session goes on with what came of it.
func TestImportedLogin(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(time.Hour))
	r := s.world.Run(s.session(`echo "$CLAUDE_CODE_OAUTH_TOKEN"; ` + useClaude))
	lines := strings.Split(r.Stdout, "\n")
	if r.Exit != 0 || len(lines) < 3 || !strings.HasPrefix(lines[0], "sk-ant-oat01-") || lines[1] != "welcome Bearer "+lines[0] || lines[2] != "200" {
		t.Fatalf("%v\n%s", r, s.world.Read(rig.AuditLog))
	}
	if s.service.count != 0 {
		t.Errorf("%d refreshes of a token that lasts", s.service.count)
	}
	s.importClaude(time.Now().Add(-time.Hour))
	s.service.access = "nothing"
	second := s.world.Run(s.session(useClaude))
	third := s.world.Run(s.session(useClaude))
	for _, r := range []rig.Result{second, third} {
		if !strings.HasSuffix(r.Stdout, "200\n") {
			t.Errorf("%v", r)
		}
	}
	if s.service.count != 1 || s.service.spent != 0 {
		t.Errorf("%d refreshes, %d with a spent token", s.service.count, s.service.spent)
	}
	s.outside(r, second, third)
}

// TestRefreshRace: sessions side by side, whose token has ended, refresh it
// once, and all go on.
func TestRefreshRace(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(-time.Hour))
	s.service.access = "nothing"
	var all []*rig.Process
	for range 4 {
		all = append(all, s.world.Start(s.session(useClaude+"; "+useClaude)))
	}
	var results []rig.Result
	for _, p := range all {
		r := p.Wait()
		if strings.Count(r.Stdout, "200\n") != 2 {
			t.Errorf("%v", r)
		}
		results = append(results, r)
	}
	if s.service.count != 1 || s.service.spent != 0 {
		t.Errorf("%d refreshes, %d with a spent token", s.service.count, s.service.spent)
	}
	s.outside(results...)
}

// TestRefreshFails: the agent gets an error of ours, the person the reason, and
// the stored login stays as it was.
func TestRefreshFails(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(-time.Hour))
	s.service.access = "nothing"
	for name, fail := range map[string]func(w http.ResponseWriter){
		"html": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<p>sorry</p>"+s.service.refresh)
		},
		"error": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, s.service.refresh)
		},
		"huge": func(w http.ResponseWriter) {
			io.WriteString(w, `{"access_token":"`+strings.Repeat("a", 1<<20)+`"}`)
		},
		"without a token": func(w http.ResponseWriter) { io.WriteString(w, `{"refresh_token":"x"}`) },
		"gzip":            func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); io.WriteString(w, "\x1f\x8b") },
	} {
		s.service.fail = func(w http.ResponseWriter) bool { fail(w); return true }
		r := s.world.Run(s.session(useClaude))
		if !strings.Contains(r.Stdout, "credential_unavailable") || !strings.HasSuffix(r.Stdout, "502\n") {
			t.Errorf("%s: %v", name, r)
		}
		s.outside(r)
	}
	s.service.fail = nil
	if r := s.world.Run(s.session(useClaude)); !strings.HasSuffix(r.Stdout, "200\n") {
		t.Errorf("when the endpoint is well again: %v", r)
	}
	if s.service.count != 1 || s.service.spent != 0 {
		t.Errorf("%d refreshes, %d with a spent token", s.service.count, s.service.spent)
	}
}

// TestRevokedEarly: what the upstream does not take any more is refreshed,
// though it has not ended: the agent tries again, as clients do.
func TestRevokedEarly(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(time.Hour))
	s.service.access = "revoked"
	r := s.world.Run(s.session(useClaude + "; " + useClaude))
	if !strings.HasPrefix(r.Stdout, "401\n") || !strings.HasSuffix(r.Stdout, "200\n") || s.service.spent != 0 || s.service.count != 1 {
		t.Errorf("%v: %d refreshes, %d with a spent token", r, s.service.count, s.service.spent)
	}
	s.outside(r)
}

// TestLoginEndpointIsNotTheAgents: the agent does not reach what refreshes its
// login.
func TestLoginEndpointIsNotTheAgents(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(time.Hour))
	r := s.world.Run(s.session(`curl -s -o /dev/null -H "Authorization: Bearer $CLAUDE_CODE_OAUTH_TOKEN" https://platform.claude.com/v1/oauth/token -d x; ` + useClaude))
	if !strings.HasSuffix(r.Stdout, "200\n") || s.service.spent != 0 || s.service.count != 0 {
		t.Errorf("%v: the agent reached the endpoint (%d, %d)", r, s.service.spent, s.service.count)
	}
}

// TestSavedWhileTheSessionEnds: a refresh that the service has begun is stored,
// though the agent, and with it the session, ended meanwhile.
func TestSavedWhileTheSessionEnds(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(-time.Hour))
	s.service.access = "nothing"
	arrived, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.service.ask = func(*http.Request, map[string]string) {
		once.Do(func() {
			close(arrived)
			<-leave
		})
	}
	p := s.world.Start(s.session(useClaude + " & sleep 600"))
	<-arrived
	ended := make(chan rig.Result, 1)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- p.Wait() }()
	close(leave)
	r := <-ended
	after := s.world.Run(s.session(useClaude))
	if !strings.HasSuffix(after.Stdout, "200\n") || s.service.count != 1 || s.service.spent != 0 {
		t.Errorf("%v: %d refreshes, %d with a spent token", after, s.service.count, s.service.spent)
	}
	s.outside(r, after)
}

// TestCodexLogin: from Codex's own file, of which the session has a copy whose
// tokens are JWTs that parse, show what Codex reads, and are nobody's.
func TestCodexLogin(t *testing.T) {
	const auth = `"https://api.openai.com/auth":{"chatgpt_account_id":"acc-42","chatgpt_plan_type":"plus"}`
	s := newStay(t, codexAPI, codexToken, func(kind string) string {
		if kind == "refresh" {
			return rig.CanaryOf(t, "rt_", 90)
		}
		return jwt(t, fmt.Sprintf(`{"exp":%d,"email":"me@x.test","sub":"%s",%s}`, time.Now().Add(-time.Hour).Unix(), rig.CanaryOf(t, "sub", 24), auth))
	})
	file := fmt.Sprintf(`{"OPENAI_API_KEY":null,"tokens":{"id_token":%q,"access_token":%q,"refresh_token":%q,"account_id":"acc-42"},"last_refresh":"2026-01-01T00:00:00Z"}`,
		s.service.make("id"), s.service.access, s.service.refresh)
	s.world.Give(rig.Home+"/.codex/auth.json", []byte(file), 0o600)
	if r := s.world.Command(nil, "secret", "set", "codex", "--from-file", rig.Home+"/.codex/auth.json"); r.Exit != 0 {
		t.Fatalf("import: %v", r)
	}
	s.service.access = "nothing"
	r := s.world.Run(rig.Session{Policy: "version: 1\n" + s.upstream.Hosts(), With: []string{"codex"}, Args: []string{"sh", "-c",
		`cat ~/.codex/auth.json; echo; A=$(sed 's/.*"access_token": *"\([^"]*\)".*/\1/' ~/.codex/auth.json | tr -d '\n'); curl -sS -w '%{http_code}\n' -H "Authorization: Bearer $A" https://chatgpt.com/backend-api/codex/responses`}})
	text, rest, _ := strings.Cut(r.Stdout, "\n")
	var got struct {
		Tokens map[string]string `json:"tokens"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || !strings.HasSuffix(rest, "200\n") {
		t.Fatalf("%v: %v", err, r)
	}
	for _, name := range []string{"id_token", "access_token"} {
		parts := strings.Split(got.Tokens[name], ".")
		if len(parts) != 3 {
			t.Errorf("%s: %q", name, got.Tokens[name])
			continue
		}
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		var c map[string]any
		if err == nil {
			err = json.Unmarshal(claims, &c)
		}
		if err != nil || c["email"] != "me@x.test" || !strings.Contains(string(claims), auth) || c["sub"] != nil || c["exp"].(float64) < 4e9 {
			t.Errorf("%s: %s, %v", name, claims, err)
		}
	}
	if got.Tokens["account_id"] != "acc-42" || got.Tokens["refresh_token"] == "" {
		t.Errorf("%v", got.Tokens)
	}
	oracle := rig.NewOracle(s.real...)
	if hits := append(oracle.Bytes("output", r.Bytes()), oracle.Bytes("audit", s.world.Read(rig.AuditLog))...); len(hits) > 0 {
		t.Errorf("a real token is in the agent's reach: %v", hits)
	}
}
