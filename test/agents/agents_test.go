// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// credential is a key as a user would store it.
type credential struct {
	name, prefix string
	length       int
}

var (
	anthropic = credential{"anthropic", "sk-ant-api03-", 108}
	openai    = credential{"openai", "sk-proj-", 164}
	gemini    = credential{"gemini", "AIzaSy", 39}
	copilot   = credential{"copilot", "github_pat_", 93}
)

// agent is one program, asked one question on its command line. Nothing in it
// is about phantom-ns: a user outside would type the same.
type agent struct {
	name  string
	key   credential
	args  []string
	serve func(*trial) // what its profile lets it reach, and where it asks
	trial func(*testing.T, *trial)
}

func agents() []agent {
	return []agent{
		{name: "Claude Code", key: anthropic, args: []string{"claude", "-p", "say pong"}, serve: (*trial).serveAnthropic},
		{name: "Codex", key: openai, args: []string{"codex", "exec", "--skip-git-repo-check", "say pong"}, serve: (*trial).serveCodex, trial: overWebSocket},
		{name: "Codex without WebSockets", key: openai, args: []string{"codex", "exec", "--skip-git-repo-check", "say pong"}, serve: (*trial).serveCodexOverHTTP, trial: overHTTP},
		{name: "gemini-cli", key: gemini, args: []string{"gemini", "--skip-trust", "--model", "gemini-2.5-flash", "-p", "say pong"}, serve: (*trial).serveGemini, trial: ofOneVariable},
		{name: "opencode", key: anthropic, args: []string{"opencode", "run", "--model", "anthropic/claude-sonnet-4-5", "say pong"}, serve: (*trial).serveOpencode},
		{name: "Copilot CLI", key: copilot, args: []string{"copilot", "--model", copilotModel, "-p", "say pong"}, serve: (*trial).serveCopilot},
		{name: "aider", key: openai, args: []string{"aider", "--no-git", "--yes-always", "--model", "openai/gpt-4o", "--message", "say pong"}, serve: (*trial).serveAider},
	}
}

// Claude Code's first start asks both hosts for a sign of life, without a key.
func (tr *trial) serveAnthropic() {
	mux := http.NewServeMux()
	hello := func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"message": "hello"}) }
	mux.HandleFunc("GET /api/hello", hello)
	mux.Handle("/", tr.upstream.Anthropic(tr.key))
	tr.upstream.Serve("api.anthropic.com", mux)
	tr.upstream.Serve("platform.claude.com", http.HandlerFunc(hello))
}

// Codex looks for a collection of plugins in a repository.
func (tr *trial) serveCodex() {
	tr.upstream.Serve("api.openai.com", tr.upstream.OpenAI(tr.key))
	tr.upstream.Serve("github.com", http.NotFoundHandler())
	tr.upstream.Serve("raw.githubusercontent.com", http.NotFoundHandler()) // announcements
}

func (tr *trial) serveCodexOverHTTP() {
	tr.serveCodex()
	played := tr.upstream.OpenAI(tr.key)
	tr.upstream.Serve("api.openai.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" { // the status that Codex takes for "not here"
			http.Error(w, "", http.StatusUpgradeRequired)
			return
		}
		played.ServeHTTP(w, r)
	}))
}

func (tr *trial) serveGemini() {
	tr.upstream.Serve("generativelanguage.googleapis.com", tr.gemini())
}

// Without the catalogue of models opencode has one of its own. It asks the
// user's registry for plugins.
func (tr *trial) serveOpencode() {
	tr.serveAnthropic()
	tr.world.Give(rig.Home+"/.npmrc", []byte("registry=https://npm.corp.test/\n"), 0o600)
	tr.upstream.Serve("npm.corp.test", http.NotFoundHandler())
	tr.upstream.Serve("models.dev", http.NotFoundHandler())
	tr.upstream.Serve("models.opencode.ai", http.NotFoundHandler())
}

func (tr *trial) serveCopilot() {
	tr.upstream.Serve("api.github.com", tr.copilotUser())
	tr.upstream.Serve(copilotAPI, tr.copilot())
}

// Without the list of prices aider has one of its own.
func (tr *trial) serveAider() {
	tr.upstream.Serve("api.openai.com", tr.upstream.OpenAI(tr.key))
	tr.upstream.Serve("raw.githubusercontent.com", http.NotFoundHandler())
}

// ofOneVariable: gemini-cli warns when its key stands in two.
func ofOneVariable(t *testing.T, tr *trial) {
	if strings.Contains(tr.said, "GOOGLE_API_KEY") {
		t.Errorf("it speaks of another variable than its own: %s", tr.said)
	}
}

func overWebSocket(t *testing.T, tr *trial) {
	for _, e := range tr.upstream.Exchanges("api.openai.com") {
		if e.Status != http.StatusSwitchingProtocols {
			t.Errorf("%s %s: %d", e.Method, e.Target, e.Status)
		}
	}
}

func overHTTP(t *testing.T, tr *trial) {
	all := tr.upstream.Exchanges("api.openai.com")
	if first, last := all[0], all[len(all)-1]; first.Status != http.StatusUpgradeRequired || last.Method != "POST" || last.Status != http.StatusOK {
		t.Errorf("first %s %d, last %s %d", first.Method, first.Status, last.Method, last.Status)
	}
}

// TestAgentsWorkByTheirNameAlone proves for every agent a placeholder inside,
// the real key upstream, the answer back, exit status 0, and nobody asked whom
// its profile does not name. [trial.run] has the list.
func TestAgentsWorkByTheirNameAlone(t *testing.T) {
	for _, a := range agents() {
		t.Run(a.name, func(t *testing.T) {
			tr := newTrial(t, a.key)
			a.serve(tr)
			tr.run(rig.Session{Args: a.args})
			if a.trial != nil {
				a.trial(t, tr)
			}
		})
	}
}

// TestAgentsTrustWithoutVariables holds docs/CLIENTS.md to which agents believe
// a session whose trust variables are taken away: what the mounts alone do.
func TestAgentsTrustWithoutVariables(t *testing.T) {
	var without strings.Builder
	for _, v := range sandbox.TrustEnv() {
		name, _, _ := strings.Cut(v, "=")
		without.WriteString(" -u " + name)
	}
	for _, a := range agents() {
		t.Run(a.name, func(t *testing.T) {
			tr := newTrial(t, a.key)
			a.serve(tr)
			s := rig.Session{
				Flags: []string{"--profile", a.args[0]},
				Args:  append([]string{"/bin/sh", "-c", "exec env" + without.String() + ` "$@"`, "sh"}, a.args...),
			}
			if rig.Needs(t, a.name) == rig.NeedsMount {
				tr.run(s)
				return
			}
			s.Args = append([]string{"timeout", "15"}, s.Args...) // they would try for minutes
			if r := tr.start(s); r.Exit == 0 || strings.Contains(r.Stdout, tr.upstream.Answer) {
				t.Errorf("worked: it no longer needs a variable: %v", r)
			}
		})
	}
}
