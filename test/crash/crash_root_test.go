// SPDX-License-Identifier: Apache-2.0

//go:build root

package crash

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const policy = "version: 1\negress:\n  - host: api.crash.test\n"

// TestO5KilledProcessesLeaveNoWayOut kills each of our processes in turn,
// several times, while the agent loops over connects.
func TestO5KilledProcessesLeaveNoWayOut(t *testing.T) {
	const times = 5
	for _, victim := range []string{"supervisor", "phantom-ns: proxy", "phantom-ns: init"} {
		t.Run(victim, func(t *testing.T) {
			w := rig.New(t)
			connector := buildConnector(t, w)
			before := rig.Snapshot(t)
			tap := w.Tap(nil)
			for range times {
				killOne(t, w, victim, connector)
			}
			// What a dead supervisor left is for the next command to sweep.
			if r := w.Command(nil, "gc"); r.Exit != 0 {
				t.Errorf("gc: %v", r)
			}
			if left := rig.Leftovers(t, before); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if packets := tap.Stop(); len(packets) > 0 {
				t.Errorf("%d packets on the tap, the first: %v", len(packets), packets[0])
			}
		})
	}
}

func buildConnector(t *testing.T, w *rig.World) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "connector")
	if err := rig.GoBuild(path, "./test/crash/connector"); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Give(rig.Home+"/connector", program, 0o755)
	return rig.Home + "/connector"
}

// killOne starts a session, waits until the agent is at it, and kills one of
// our processes.
func killOne(t *testing.T, w *rig.World, victim, connector string) {
	t.Helper()
	said, says := io.Pipe()
	defer said.Close()
	p := w.Start(rig.Session{Policy: policy, Args: []string{connector}, Stdout: says})
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "looping\n" {
		t.Fatalf("the agent said %q: %v", line, err)
	}
	pid := p.Process.Pid
	if victim != "supervisor" {
		pid = rig.Child(t, pid, victim)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := p.Wait(); r.Exit == 0 {
		t.Errorf("the session ended as if nothing had happened: %v", r)
	}
}
