// SPDX-License-Identifier: Apache-2.0

//go:build root

package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// idle starts a session whose agent waits, and returns its id when it runs.
func idle(t *testing.T, w *rig.World, s rig.Session) (*rig.Process, string) {
	t.Helper()
	out, in := io.Pipe()
	s.Args = []string{"sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done"}
	if s.Stdout == nil {
		s.Stdout = in
	}
	p := w.Start(s)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("agent wrote %q: %v", line, err)
	}
	go io.Copy(io.Discard, out)
	var ids []string
	for _, s := range list(t, w) {
		if s.PID == p.Process.Pid {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) != 1 {
		t.Fatalf("ps lists %q", ids)
	}
	return p, ids[0]
}

type listed struct {
	Kind, ID, Command, User string
	UID, PID                int
	Started                 time.Time
	Credentials             []string
	Allowed, Denied         int
}

func list(t *testing.T, w *rig.World) (all []listed) {
	t.Helper()
	r := w.Command(nil, "ps", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil || r.Exit != 0 {
		t.Fatalf("ps: %v: %v", err, r)
	}
	return all
}

func TestSessionsAreListedEnteredAndStopped(t *testing.T) {
	before := rig.Snapshot(t)
	w := rig.New(t)
	canary := rig.Canary(t, "sk-proj-")
	if r := w.Command(strings.NewReader(canary+"\n"), "secret", "set", "openai"); r.Exit != 0 {
		t.Fatal(r)
	}
	p, id := idle(t, w, rig.Session{With: []string{"openai"}})
	all := list(t, w)
	if len(all) != 1 || all[0].Kind != "run" || all[0].Command != "sh" || all[0].User != rig.User || all[0].UID != rig.UID ||
		!slices.Equal(all[0].Credentials, []string{"openai"}) || all[0].Started.IsZero() {
		t.Errorf("ps lists %+v", all)
	}
	for _, c := range []struct {
		args  []string
		stdin string
		exit  int
		out   string
	}{
		{[]string{"exec", id, "--", "sh", "-c", "cat; id -u; exit 42"}, "through\n", 42, "through\n31337\n"},
		{[]string{"exec", id[:5], "pwd"}, "", 0, rig.Work + "\n"},
		{[]string{"exec", id, "sh", "-c", "kill -9 $$"}, "", 137, ""},
		{[]string{"exec", id, "no-such-command"}, "", 127, ""},
		{[]string{"exec", id, "/etc/passwd"}, "", 126, ""},
		{[]string{"exec", id, "--"}, "", 125, ""},
		{[]string{"exec", "0", "true"}, "", 125, ""},
		{[]string{"stop", id, "0"}, "", 125, ""},
		{[]string{"stop", "--timeout", "-1s", id}, "", 125, ""},
	} {
		r := w.Command(strings.NewReader(c.stdin), c.args...)
		want := strings.ReplaceAll(c.out, "31337", strconv.Itoa(rig.UID))
		if r.Exit != c.exit || r.Stdout != want || c.exit == 125 && !strings.Contains(r.Stderr, "phantom-ns ") {
			t.Errorf("%v: want %d and %q, got %v", c.args, c.exit, want, r)
		}
	}
	r := w.Command(nil, "exec", id, "printenv", "OPENAI_API_KEY")
	if r.Exit != 0 || !strings.HasPrefix(r.Stdout, "sk-proj-") || strings.Contains(r.Stdout, canary) {
		t.Errorf("the placeholder: %v", r)
	}
	if r := w.Command(nil, "stop", id); r.Exit != 0 || r.Stderr != "" {
		t.Errorf("stop: %v", r)
	}
	if all := list(t, w); len(all) != 0 {
		t.Errorf("after stop, ps lists %+v", all)
	}
	if r := p.Wait(); r.Exit != 9 {
		t.Errorf("the session: %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An agent that does not want to end, and a supervisor that cannot end it.
func TestStopTakesWhatDoesNotEnd(t *testing.T) {
	before := rig.Snapshot(t)
	w := rig.New(t)
	stubborn, id := idle(t, w, rig.Session{})
	if r := w.Command(nil, "exec", id, "sh", "-c", "kill -STOP $(pgrep -o sh)"); r.Exit != 0 {
		t.Fatal(r)
	}
	if r := w.Command(nil, "stop", "--timeout", "100ms", id); r.Exit != 0 {
		t.Errorf("stop: %v", r)
	}
	if r := stubborn.Wait(); r.Exit != 137 {
		t.Errorf("the session: %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The person who runs a program has a terminal: Ctrl-C, a new size and Ctrl-Z
// are the program's.
func TestExecAtATerminal(t *testing.T) {
	w := rig.New(t)
	_, id := idle(t, w, rig.Session{})
	screen := rig.NewScreen(t)
	script := "set -m; " + rig.Binary(t) + " exec " + id + ` sh -c 'tty; trap "echo caught" INT; trap "stty size" WINCH; echo ready; until read a; do :; done; echo got $a; until read b; do :; done; echo end $b; exit 5'; echo stopped; read go; fg >/dev/null; echo status $?`
	p := w.Program(rig.Session{Root: true, Terminal: screen.Near}, "bash", "-c", script)
	screen.Until("ready\r\n")
	screen.Key("\x03")
	screen.Until("caught\r\n")
	screen.Resize(40, 100)
	screen.Until("40 100\r\n")
	screen.Key("hello\r")
	screen.Until("got hello\r\n")
	screen.Key("\x1a")
	screen.Until("stopped\r\n")
	screen.Key("\n")
	screen.Until("\r\n")
	screen.Key("again\r")
	screen.Until("end again\r\n")
	screen.Until("status 5\r\n")
	p.Wait()
}
