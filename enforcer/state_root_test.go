// SPDX-License-Identifier: Apache-2.0

//go:build root

package enforcer

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// deadSession leaves what a supervisor killed by SIGKILL leaves: state, an
// unlocked lock, and a cgroup with a process in it.
func deadSession(t *testing.T) (id string, process *exec.Cmd) {
	t.Helper()
	id = audit.NewID()
	dir, err := newStateDir(id)
	if err != nil {
		t.Fatal(err)
	}
	group, err := newCgroup(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.save(state{ID: id, Command: "sleep", Cgroup: group.path}); err != nil {
		t.Fatal(err)
	}
	process = exec.Command("sleep", "600")
	process.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.agent.Fd())}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Process.Kill() })
	group.agent.Close()
	group.service.Close()
	group.lock.Close()
	dir.lock.Close()
	return id, process
}

func TestSweepRemovesADeadSession(t *testing.T) {
	id, process := deadSession(t)
	waited := make(chan error, 1)
	go func() { waited <- process.Wait() }()
	swept, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(swept, func(s Swept) bool { return s.ID == id && s.Command == "sleep" }) {
		t.Errorf("swept %+v, which lacks %s", swept, id)
	}
	if err := <-waited; err == nil {
		t.Error("the process ended by itself instead of being killed")
	}
	root, err := Cgroup2Root()
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pidsRoot() // "" where v2 has the controller
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(StateDir, id), filepath.Join(root, cgroupParent, id), filepath.Join(pids, cgroupParent, id)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

func TestSweepLeavesALiveSessionAlone(t *testing.T) {
	id := audit.NewID()
	dir, err := newStateDir(id)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	group, err := newCgroup(id)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	swept, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(swept, func(s Swept) bool { return s.ID == id }) {
		t.Error("a session whose lock is held was swept")
	}
	if _, err := os.Stat(group.path); err != nil {
		t.Errorf("its cgroup: %v", err)
	}
}

func TestSweepRemovesAnOrphanCgroup(t *testing.T) {
	id := audit.NewID()
	group, err := newCgroup(id)
	if err != nil {
		t.Fatal(err)
	}
	group.agent.Close()
	group.service.Close()
	sweep := func() error {
		t.Helper()
		if _, err := Sweep(); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(group.path)
		return err
	}
	if err := sweep(); err != nil {
		t.Errorf("one that may be starting: %v", err)
	}
	past := time.Now().Add(-2 * startingGrace)
	if err := os.Chtimes(group.path, past, past); err != nil {
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Errorf("one whose supervisor lives, with another /run: %v", err)
	}
	group.lock.Close()
	if err := sweep(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the orphan is still there: %v", err)
	}
}

func TestReadPolicyUsesTheInvokersRights(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode, uid int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("version: 1\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(path, mode), os.Chown(path, uid, uid)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ann := Invoker{User: &User{Name: "ann", UID: 23001, GID: 23001}}
	tests := []struct {
		name            string
		path            string
		trusted, denied bool
		mayRead         bool
	}{
		{"root's, private", write("private", 0o600, 0), true, false, false},
		{"root's, public", write("public", 0o644, 0), true, false, true},
		{"root's, writable by all, readable by all", write("loose", 0o666, 0), false, false, true},
		{"own", write("own", 0o600, 23001), false, false, true},
		{"another user's, private", write("others", 0o600, 23002), false, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, trusted, err := ann.ReadPolicy(test.path)
			if denied := errors.Is(err, fs.ErrPermission); denied != test.denied || (!denied && err != nil) {
				t.Fatalf("error %v, want denied: %v", err, test.denied)
			}
			if err == nil && trusted != test.trusted {
				t.Errorf("trusted %v, want %v", trusted, test.trusted)
			}
			if may := ann.MayRead(test.path); may != test.mayRead {
				t.Errorf("may read %v, want %v", may, test.mayRead)
			}
		})
	}
	if _, err := ann.ReadNamed(tests[0].path, false); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a user's policy read root's private file: %v", err)
	}
}
