// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// TestC12LoginStoredAnew: a running session takes a login that is stored in
// another's place with its next request, sends nothing after its removal, and
// goes on with the one that is stored then.
func TestC12LoginStoredAnew(t *testing.T) {
	s := claude(t)
	s.importClaude(time.Now().Add(time.Hour))
	in, says := io.Pipe()
	heard, out := io.Pipe()
	session := s.session(`while read line; do ` + strings.Replace(useClaude, "curl -sS", "curl -sS -o /dev/null", 1) + `; done`)
	session.Stdin, session.Stdout = in, out
	process := s.world.Start(session)
	t.Cleanup(func() { says.Close(); heard.Close() })
	answers := bufio.NewScanner(heard)
	use := func(want string) {
		t.Helper()
		io.WriteString(says, "\n")
		if !answers.Scan() || answers.Text() != want {
			t.Fatalf("%q, want %s", answers.Text(), want)
		}
	}
	use("200")
	s.service.access, s.service.refresh = s.service.make("access"), s.service.make("refresh")
	s.importClaude(time.Now().Add(time.Hour))
	use("200")
	if r := s.world.Command(nil, "reload"); r.Exit != 0 {
		t.Errorf("reload: %v", r)
	}
	use("200")
	if r := s.world.Command(nil, "secret", "rm", "claude"); r.Exit != 0 || !strings.Contains(r.Stderr, "use it no more") {
		t.Errorf("secret rm: %v", r)
	}
	use("502")
	s.service.access, s.service.refresh = s.service.make("access"), s.service.make("refresh")
	s.importClaude(time.Now().Add(time.Hour))
	use("200")
	if s.service.count != 0 || s.service.spent != 0 {
		t.Errorf("%d refreshes of logins that last, %d with a spent token", s.service.count, s.service.spent)
	}
	// A key is no login: the session goes on as it was.
	key := strings.NewReader("sk-ant-api03-" + strings.Repeat("k", 60))
	if r := s.world.Command(key, "secret", "set", "claude"); !strings.Contains(r.Stderr, "start a new session for it") {
		t.Errorf("a key in its place: %v", r)
	}
	use("200")
	says.Close()
	go io.Copy(io.Discard, heard)
	s.outside(process.Wait())
}
