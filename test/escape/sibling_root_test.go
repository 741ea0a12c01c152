// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"io"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// sibling is another session of the same user, which serves on every address
// that it has while the agent's session is at it.
type sibling struct {
	*rig.Process
	stdin io.Closer
	lines chan string
}

func (s *stage) startSibling(built []byte) *sibling {
	s.Helper()
	s.world.Give(rig.Home+"/sibling", built, 0o755)
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	p := s.world.Start(rig.Session{Policy: s.policy(""), Args: []string{rig.Home + "/sibling", "serve"}, Stdin: in, Stdout: out, Timeout: 10 * time.Minute})
	// Before rig ends the session, which waits for both.
	s.Cleanup(func() { stdin.Close(); stdout.Close() })
	other := &sibling{p, stdin, make(chan string, 2)}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			other.lines <- lines.Text()
		}
	}()
	other.says(s.T, "serving")
	return other
}

// says waits for a line, but not for ever: a session that could not start says
// nothing.
func (other *sibling) says(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-other.lines:
		if line != want {
			t.Fatalf("the other session said %q, want %q", line, want)
		}
	case <-time.After(time.Minute):
		other.stdin.Close()
		t.Fatalf("the other session did not say %q: %v", want, other.Wait())
	}
}

// nobodyCame ends it and asks who it has seen.
func (other *sibling) nobodyCame(t *testing.T) {
	t.Helper()
	other.stdin.Close()
	other.says(t, "visitors=0")
	if r := other.Wait(); r.Exit != 0 {
		t.Errorf("the other session: %v", r)
	}
}
