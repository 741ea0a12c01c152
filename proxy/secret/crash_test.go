// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// crashStage is this test binary as a writer that is killed at a step:
// argv = stage, directory, step; the value on stdin.
const crashStage = "secret.test: crash"

func crashMain() {
	runtime.LockOSThread() // strace counts a thread's calls
	v, err := readLocked(os.Stdin)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := NewStore(os.Args[1])
	s.reached = func(step string) {
		if step == os.Args[2] {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if os.Args[2] == "passphrase" {
		s.work = 1
		err = s.SetPassphrase(v)
	} else {
		err = s.Set("main", Entry{Value: v})
	}
	fmt.Println(err)
	os.Exit(0)
}

// steps of a write, in order; at the end of a file's name and after a blank.
var steps = []string{"begin", "created", "half written", "written", "synced", "renamed", "done"}

// crash sets an entry in another process, and has it killed at step.
func crash(t *testing.T, directory, step string, value canary) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{crashStage, directory, step}
	cmd.Stdin = bytes.NewReader(value)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("step %q was not reached: %v: %s", step, err, out)
	}
}

func TestCrashDuringSetLeavesOldOrNew(t *testing.T) {
	for _, step := range steps {
		t.Run("replace/"+step, func(t *testing.T) {
			s := NewStore(filepath.Join(t.TempDir(), "store"))
			other, before, after, later := newCanary(t), newCanary(t), newCanary(t), newCanary(t)
			set(t, s, "other", other)
			set(t, s, "main", before)
			crash(t, s.directory, storeFile+" "+step, after)
			want := before
			if step == "renamed" || step == "done" {
				want = after
			}
			get(t, s, "main", want)
			get(t, s, "other", other)
			set(t, s, "main", later)
			get(t, s, "main", later)
			get(t, s, "other", other)
			onlyTwoFiles(t, s)
		})
	}
}

func TestCrashDuringFirstSetCanBeRepeated(t *testing.T) {
	for _, file := range []string{keyFile, storeFile} {
		for _, step := range steps {
			t.Run(file+"/"+step, func(t *testing.T) {
				s := NewStore(filepath.Join(t.TempDir(), "store"))
				first, again := newCanary(t), newCanary(t)
				crash(t, s.directory, file+" "+step, first)
				if file == storeFile && (step == "renamed" || step == "done") {
					get(t, s, "main", first)
				} else if _, err := s.Get("main"); !errors.Is(err, ErrAbsent) {
					t.Fatalf("after the crash: %v", err)
				}
				if _, err := s.List(); err != nil {
					t.Fatal(err)
				}
				set(t, s, "main", again)
				get(t, s, "main", again)
				onlyTwoFiles(t, s)
			})
		}
	}
}

// onlyTwoFiles also proves that no file holds a value in the clear.
func onlyTwoFiles(t *testing.T, s *Store) {
	t.Helper()
	entries, err := os.ReadDir(s.directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != keyFile+" "+storeFile {
		t.Errorf("directory holds %s", got)
	}
}
