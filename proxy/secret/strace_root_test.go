// SPDX-License-Identifier: Apache-2.0

//go:build root

package secret

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// writing are the system calls by which a store changes.
var writing = []string{"mkdirat", "openat", "flock", "unlinkat", "write", "fsync", "renameat", "close"}

// mostCalls is more often than a setter calls one of them.
const mostCalls = 200

// killedAt runs the setter in mode and kills it as it enters a system call for
// the nth time. It reports whether it lived to the end.
func killedAt(t *testing.T, call string, n int, directory, mode string, value canary) (lived bool) {
	t.Helper()
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call,
		"-e", "inject="+call+":signal=SIGKILL:when="+strconv.Itoa(n),
		crashStage, directory, mode)
	cmd.Env = []string{"PATH=" + named(t, crashStage)}
	cmd.Stdin = bytes.NewReader(value)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, out)
	}
	if err == nil && string(out) != "<nil>\n" {
		t.Fatalf("%s at its call %d: %s", call, n, out)
	}
	return err == nil
}

// named is a folder in which this program has another name: strace gives what it
// runs the name that it found it by.
func named(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(self, filepath.Join(folder, name)); err != nil {
		t.Fatal(err)
	}
	return folder
}

// everyKill calls check after the setter was killed at each call of each kind.
func everyKill(t *testing.T, mode string, prepare func(t *testing.T, s *Store), value canary, check func(t *testing.T, s *Store)) {
	for _, call := range writing {
		t.Run(call, func(t *testing.T) {
			killed := 0
			for n := 1; ; n++ {
				if n > mostCalls {
					t.Fatal("it does not end")
				}
				s := NewStore(filepath.Join(t.TempDir(), "store"))
				prepare(t, s)
				if killedAt(t, call, n, s.directory, mode, value) {
					break
				}
				killed++
				check(t, s)
			}
			if killed == 0 && call != "mkdirat" { // a store that there is
				t.Error("the setter does not call it")
			}
		})
	}
}

func TestKillAtEverySystemCallLosesNeitherOldNorNew(t *testing.T) {
	other, before, after := newCanary(t), newCanary(t), newCanary(t)
	either := func(t *testing.T, s *Store) {
		t.Helper()
		e, err := s.Get("main")
		if err != nil {
			t.Fatal(err)
		}
		defer e.Value.Wipe()
		if got := e.Value.Reveal(); !bytes.Equal(got, before) && !bytes.Equal(got, after) {
			t.Fatalf("neither: %d bytes", len(got))
		}
		get(t, s, "other", other)
	}
	existing := func(t *testing.T, s *Store) {
		t.Helper()
		set(t, s, "other", other)
		set(t, s, "main", before)
	}
	t.Run("set", func(t *testing.T) {
		everyKill(t, "", existing, after, func(t *testing.T, s *Store) {
			either(t, s)
			set(t, s, "main", after)
			get(t, s, "main", after)
			get(t, s, "other", other)
			onlyTwoFiles(t, s)
		})
	})
	t.Run("first set", func(t *testing.T) {
		everyKill(t, "", func(*testing.T, *Store) {}, after, func(t *testing.T, s *Store) {
			if e, err := s.Get("main"); err == nil {
				after.same(t, e.Value)
				e.Value.Wipe()
			} else if !errors.Is(err, ErrAbsent) {
				t.Fatal(err)
			}
			set(t, s, "main", before)
			get(t, s, "main", before)
			onlyTwoFiles(t, s)
		})
	})
	t.Run("passphrase", func(t *testing.T) {
		everyKill(t, "passphrase", existing, after, func(t *testing.T, s *Store) {
			is, err := s.Locked()
			if err == nil && is {
				err = s.Unlock(after.value(t))
			}
			if err != nil {
				t.Fatal(err)
			}
			either(t, s)
			set(t, s, "main", after)
			get(t, s, "main", after)
			onlyTwoFiles(t, s)
		})
	})
}
