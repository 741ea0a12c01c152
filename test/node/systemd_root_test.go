// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// systemd finds nothing in the units that it does not know or would not do.
func TestUnitsAreVerified(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"phantom-ns.service", "phantom-ns.socket"} {
		text, err := os.ReadFile(filepath.Join(units, name))
		if err != nil {
			t.Fatal(err)
		}
		// It looks for the program, which is installed elsewhere, or not.
		text = []byte(strings.ReplaceAll(string(text), "/usr/local/bin/phantom-ns", rig.Binary(t)))
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	said, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(said) != 0 {
		t.Errorf("%v: %s", err, said)
	}
}

// O6: who comes while no daemon runs starts one by systemd's own program, and
// is answered by it.
func TestO6SystemdActivates(t *testing.T) {
	b := newBed(t)
	b.node.Stop()
	said, told := io.Pipe()
	daemon := b.world.Program(rig.Session{Root: true, Dir: "/", Stderr: told},
		"systemd-socket-activate", append([]string{"--listen=" + b.node.Socket(), rig.Binary(t)}, b.node.Args()...)...)
	if line, err := bufio.NewReader(said).ReadString('\n'); !strings.Contains(line, "Listening on "+b.node.Socket()) {
		t.Fatalf("%q, %v", line, err)
	}
	go io.Copy(io.Discard, said)
	status, err := b.client.Status(t.Context())
	if err != nil || status.PID != daemon.Process.Pid {
		t.Errorf("status %+v, %v", status, err)
	}
	p := b.newPod("web")
	p.attach()
	p.swaps()
	p.detach()
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := daemon.Wait(); r.Exit != 0 {
		t.Errorf("it ended with %v", r)
	}
}
