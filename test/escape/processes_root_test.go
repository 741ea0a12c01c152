// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestForkBombEndsInTheSession looks at the limit that a session is given,
// lowers it so that the bomb is a small one, and lets it go off.
func TestForkBombEndsInTheSession(t *testing.T) {
	s := newStage(t, attempt(t))
	before := rig.Snapshot(t)
	said, says := io.Pipe()
	t.Cleanup(func() { said.Close() })
	wait, proceed := io.Pipe()
	// Each child forks two more for as long as the kernel lets it, and says so
	// when it does not. The shell that looks for that forks nothing.
	const script = `echo ready; read -r _
bomb() { while :; do bomb & bomb & wait; done; }
bomb 2>/tmp/refused &
until read -r _ </tmp/refused; do :; done
echo refused; exit 7`
	p := s.world.Start(rig.Session{Policy: s.policy(""), Args: []string{"sh", "-c", script}, Stdin: wait, Stdout: says})
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the agent said %q: %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	file := limitFile(t, sessionOf(t, p.Process.Pid))
	if text, err := os.ReadFile(file); string(text) != "8192\n" {
		t.Errorf("the limit is %q: %v", text, err)
	}
	s.must(os.WriteFile(file, []byte("60"), 0))
	_, err := io.WriteString(proceed, "go\n")
	s.must(err)
	proceed.Close()
	if r := p.Wait(); r.Exit != 7 || r.Stdout != "ready\nrefused\n" {
		t.Errorf("got %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// sessionOf is the id of the session whose supervisor is pid.
func sessionOf(t *testing.T, pid int) string {
	t.Helper()
	files, err := filepath.Glob("/run/phantom-ns/*/state.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		var state struct{ PID int }
		if json.Unmarshal(text, &state) == nil && state.PID == pid {
			return filepath.Base(filepath.Dir(file))
		}
	}
	t.Fatalf("no session of %d in %q", pid, files)
	return ""
}

// limitFile is a session's pids.max, in the agent's cgroup of v2 or in the
// session's of v1.
func limitFile(t *testing.T, id string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		for _, pattern := range []string{"/agent/pids.max", "/pids.max"} {
			files, _ := filepath.Glob(fields[4] + "/phantom-ns/" + id + pattern)
			for _, file := range files {
				if text, err := os.ReadFile(file); err == nil && string(text) != "max\n" {
					found = append(found, file)
				}
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("limits of the session: %q", found)
	}
	return found[0]
}
