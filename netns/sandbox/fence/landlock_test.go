// SPDX-License-Identifier: Apache-2.0

package fence

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is also a process under rules: the test binary runs itself again.
func TestMain(m *testing.M) {
	if name, ok := strings.CutPrefix(os.Args[0], "ruled:"); ok {
		os.Exit(runRuled(name, os.Args[1]))
	}
	os.Exit(m.Run())
}

// runRuled puts rules on itself by which only dir/in can be written, and prints
// the errno of one attempt.
func runRuled(name, dir string) int {
	runtime.LockOSThread()
	if err := restrictTo(filepath.Join(dir, "in")); err != nil {
		fmt.Println(err)
		return 1
	}
	var errno syscall.Errno
	if err := ruledAttempts[name].do(dir); err != nil && !errors.As(err, &errno) {
		fmt.Println(err)
		return 1
	}
	fmt.Println(unix.ErrnoName(errno))
	return 0
}

func restrictTo(dir string) error {
	rules, err := NewRuleset(Write|Connect, Scopes)
	if err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := rules.Grant(int(folder.Fd()), Write); err != nil {
		return err
	}
	if err := rules.RestrictAll(); rules.scopes != 0 && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("rules with scopes, on all threads: %w", err)
	}
	return errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), rules.Restrict(), rules.Close())
}

func write(name string) func(string) error {
	return func(dir string) error {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_WRONLY|unix.O_NONBLOCK, 0)
		unix.Close(fd)
		return err
	}
}

func dial(address func(dir string) string) func(string) error {
	return func(dir string) error {
		conn, err := net.Dial("unix", address(dir))
		if err == nil {
			conn.Close()
		}
		return err
	}
}

// abstract is a name that is this test's own.
func abstract(dir string) string { return "@" + dir }

var ruledAttempts = map[string]struct {
	abi  int // of the kernel that refuses
	do   func(dir string) error
	want string
}{
	"file outside":     {leastABI, write("out/file"), "EACCES"},
	"FIFO outside":     {leastABI, write("out/fifo"), "EACCES"},
	"new file outside": {leastABI, func(dir string) error { return os.WriteFile(dir+"/out/new", nil, 0o600) }, "EACCES"},
	"truncate outside": {3, func(dir string) error { return os.Truncate(dir+"/out/file", 0) }, "EACCES"},
	"move outside":     {leastABI, func(dir string) error { return os.Rename(dir+"/in/file", dir+"/out/moved") }, "EACCES"},
	"read outside":     {100, func(dir string) error { _, err := os.ReadFile(dir + "/out/file"); return err }, ""},
	"file inside":      {100, write("in/file"), ""},
	"FIFO inside":      {100, write("in/fifo"), ""},
	"move inside": {100, func(dir string) error {
		return errors.Join(os.Mkdir(dir+"/in/new", 0o700), os.Rename(dir+"/in/file", dir+"/in/new/file"))
	}, ""},
	"signal to oneself": {100, func(string) error { return unix.Kill(unix.Getpid(), 0) }, ""},
	"signal to parent":  {scopesABI, func(string) error { return unix.Kill(unix.Getppid(), 0) }, "EPERM"},
	"abstract socket":   {scopesABI, dial(abstract), "EPERM"},
	"pathname socket":   {9, dial(func(dir string) string { return dir + "/in/socket" }), "EACCES"},
}

// P3, P5: what the kernel's Landlock knows of is in force, the rest is not.
func TestRulesAreInForce(t *testing.T) {
	abi, err := ABI()
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range ruledAttempts {
		t.Run(name, func(t *testing.T) {
			dir := ruledFolder(t)
			var out strings.Builder
			cmd := exec.Command("/proc/self/exe")
			cmd.Args = []string{"ruled:" + name, dir}
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			want := ""
			if abi >= a.abi || a.abi == 100 {
				want = a.want
			}
			got := strings.TrimSpace(out.String())
			if abi < leastABI {
				if got != ErrNoLandlock.Error() {
					t.Errorf("without Landlock: %q", got)
				}
				return
			}
			if err != nil || got != want {
				t.Errorf("ABI %d: got %q and %v, want %q", abi, got, err, want)
			}
		})
	}
}

// ruledFolder holds what is attempted, in a folder for it and outside.
func ruledFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"in", "out"} {
		err := errors.Join(os.Mkdir(dir+"/"+name, 0o700), os.WriteFile(dir+"/"+name+"/file", nil, 0o600), unix.Mkfifo(dir+"/"+name+"/fifo", 0o600))
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(dir+"/"+name+"/fifo", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
	}
	for _, address := range []string{abstract(dir), dir + "/in/socket"} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	return dir
}
