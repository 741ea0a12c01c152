// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// sit opens a terminal for a user who may call sudo, with the hosts that are
// served so far in the administrator's policy: nothing is named on the command
// line but the agent.
func (tr *trial) sit() *terminal {
	tr.Helper()
	tr.mayUseSudo()
	tr.world.Write("/etc/phantom-ns/policy.yaml", []byte(tr.policy()), 0o644)
	w := openTerminal(tr, "PHANTOM="+rig.Binary(tr))
	w.prompt()
	return w
}

// TestClaudeCodeInteractively is the first day: its questions at the first
// start, a prompt, an answer, a stop and a return, another size, an interrupt,
// the end; and a second start that does not ask again.
func TestClaudeCodeInteractively(t *testing.T) {
	tr := newTrial(t, anthropic)
	tr.serveAnthropic()
	tr.upstream.Serve("github.com", http.NotFoundHandler()) // where its plugins are
	w := tr.sit()
	w.enter("sudo $PHANTOM run claude")
	w.walk("for agents",
		step{"❯ No, exit", "Down"},
		step{"❯ Yes, I trust", "Enter"},
		step{"Press Enter to continue", "Enter"},
		step{"❯ No (recommended)", "Up"},
		step{"Do you want to use this API key?", "Enter"},
		step{"Choose the text style", "Enter"})
	w.ask("say pong", "● "+tr.upstream.Answer)

	w.keys("C-z")
	w.await("Stopped")
	w.enter("echo at the $0")
	w.await("at the /bin/bash")
	w.enter("fg")
	w.await("● "+tr.upstream.Answer, "auto mode on")
	w.resize(70, 20)
	w.until("a rule as wide as the window", func(screen string) bool { return strings.Contains(screen, strings.Repeat("─", 60)) })
	w.keys("C-c")
	w.await("Press Ctrl-C again")
	w.keys("C-c")
	w.prompt()
	w.enter("clear; echo status $?")
	w.await("status 0")

	w.enter("sudo $PHANTOM run claude")
	w.await("API Usage Billing", "auto mode on")
	w.ask("/exit", "phantom-ns: changed by the agent")
	w.prompt()
	tr.clean("nothing", nil)
	tr.swapped()
}

// TestCodexInteractively is the same of Codex, whose own sandbox runs inside.
func TestCodexInteractively(t *testing.T) {
	tr := newTrial(t, openai)
	tr.serveCodex()
	w := tr.sit()
	w.enter("sudo $PHANTOM run codex")
	w.walk("Ask Codex to do anything",
		step{"> 1. Sign in with ChatGPT", "3"},
		step{"> 3. Sign in another way", "Enter"},
		step{"> 1. Use an OpenAI API key", "Enter"},
		step{"Press enter to save", "Enter"},
		step{"Do you trust", "Enter"},
		step{"Press enter to continue", "Enter"})
	w.ask("say pong", "• "+tr.upstream.Answer)

	w.keys("C-z")
	w.await("Stopped")
	w.prompt()
	w.enter("fg")
	w.await("› ", "? for shortcuts")
	w.keys("C-c")
	w.prompt()

	// The key that it keeps is a placeholder, and the next session shows it that
	// session's own.
	w.enter("clear; sudo $PHANTOM run codex")
	w.await("Ask Codex to do anything")
	w.ask("say it again", "• "+tr.upstream.Answer)
	w.ask("/quit", "codex resume")
	w.prompt()
	tr.clean("nothing", nil)
	tr.swapped()
}
