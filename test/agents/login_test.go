// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// Where the tools keep their logins.
const (
	claudeFile = rig.Home + "/.claude/.credentials.json"
	codexFile  = rig.Home + "/.codex/auth.json"
)

// newLogin is a trial whose store has the login that a tool keeps in file. The
// tool's user still has the file.
func newLogin(t *testing.T, name, file, key string, text string) *trial {
	t.Helper()
	w := rig.New(t)
	tr := &trial{T: t, world: w, upstream: rig.NewUpstream(t, w.Listen), name: name, key: key}
	t.Cleanup(tr.explain)
	w.Give(file, []byte(text), 0o600)
	if err := w.Do(func() error { return os.Chown(filepath.Dir(file), rig.UID, rig.GID) }); err != nil {
		t.Fatal(err)
	}
	if r := w.Command(nil, "secret", "set", name, "--from-file", file); r.Exit != 0 {
		t.Fatalf("store %s: %v", name, r)
	}
	return tr
}

// TestClaudeCodeWithASubscription: the login of a Claude subscription, imported
// from where Claude Code keeps it.
func TestClaudeCodeWithASubscription(t *testing.T) {
	key := rig.CanaryOf(t, "sk-ant-oat01-", 108)
	tr := newLogin(t, "claude", claudeFile, key, fmt.Sprintf(
		`{"claudeAiOauth":{"accessToken":%q,"refreshToken":%q,"expiresAt":%d,"scopes":["user:inference","user:profile"],"subscriptionType":"max"}}`,
		key, rig.CanaryOf(t, "sk-ant-ort01-", 108), time.Now().Add(time.Hour).UnixMilli()))
	tr.serveAnthropic()
	tr.stay(claudeFile, rig.Session{Args: []string{"claude", "-p", "say pong"}})
}

// chatGPT are the tokens of a ChatGPT subscription, as the service makes them.
type chatGPT struct{ access, id, refresh string }

func newChatGPT(t *testing.T) chatGPT {
	part := base64.RawURLEncoding.EncodeToString
	token := func() string {
		return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(fmt.Appendf(nil,
			`{"exp":%d,"email":"me@x.test","https://api.openai.com/auth":{"chatgpt_account_id":"acc-42","chatgpt_plan_type":"plus","chatgpt_user_id":"u-1"}}`,
			time.Now().Add(time.Hour).Unix())) + "." + rig.CanaryOf(t, "sig", 86)
	}
	return chatGPT{access: token(), id: token(), refresh: rig.CanaryOf(t, "rt_", 90)}
}

// serveChatGPT plays the subscription's own API.
func (tr *trial) serveChatGPT() {
	played := tr.upstream.OpenAI(tr.key)
	tr.upstream.Serve("github.com", http.NotFoundHandler())
	tr.upstream.Serve("chatgpt.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Chatgpt-Account-Id") != "acc-42":
			http.NotFound(w, r)
		case r.URL.Path == "/backend-api/codex/responses":
			r.URL.Path = "/v1/responses"
			played.ServeHTTP(w, r)
		case r.URL.Path == "/backend-api/wham/accounts/check": // where the account's workspace is
			account := map[string]any{"id": "acc-42", "account_id": "acc-42", "plan_type": "plus", "structure": "personal", "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "us"}
			answer(w, map[string]any{"accounts": []any{account}, "account_ordering": []string{"acc-42"}, "default_account_id": "acc-42"})
		default:
			http.NotFound(w, r)
		}
	}))
}

// codexSays asks Codex on its command line.
var codexSays = rig.Session{Args: []string{"codex", "exec", "--skip-git-repo-check", "say pong"}}

// TestCodexWithASubscription: the login of a ChatGPT subscription, imported from
// where Codex keeps it. In the session Codex reads the masked copy.
func TestCodexWithASubscription(t *testing.T) {
	tokens := newChatGPT(t)
	tr := newLogin(t, "codex", codexFile, tokens.access, fmt.Sprintf(
		`{"OPENAI_API_KEY":null,"tokens":{"id_token":%q,"access_token":%q,"refresh_token":%q,"account_id":"acc-42"},"last_refresh":%q}`,
		tokens.id, tokens.access, tokens.refresh, time.Now().UTC().Format(time.RFC3339)))
	tr.serveChatGPT()
	tr.stay(codexFile, codexSays)
}

// stay wants an answer with the stored login, and with the tool's own file in its
// place.
func (tr *trial) stay(file string, s rig.Session) {
	tr.Helper()
	tr.answers(tr.start(s))
	if r := tr.world.Command(nil, "secret", "rm", tr.name); r.Exit != 0 {
		tr.Fatal(r)
	}
	tr.declared = "credentials:\n  " + tr.name + ": {from: \"file:" + file + "\"}\n"
	tr.answers(tr.start(s))
}

// answers wants upstream's answer and the token in nobody's reach. That the
// tool's own file is masked is said at the start.
func (tr *trial) answers(r rig.Result) {
	tr.Helper()
	if r.Exit != 0 || !strings.Contains(r.Stdout, tr.upstream.Answer) {
		tr.Fatalf("no answer: %v", r)
	}
	oracle := rig.NewOracle(tr.key)
	if hits := append(oracle.Bytes("output", r.Bytes()), oracle.Bytes("audit", tr.world.Read(rig.AuditLog))...); len(hits) > 0 {
		tr.Errorf("the real token is in the agent's reach: %v", hits)
	}
	tr.swapped()
}
