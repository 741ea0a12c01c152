// SPDX-License-Identifier: Apache-2.0

//go:build root

package enforcer

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// In a container with a cgroup namespace of its own, what is mounted as the
// root holds that container alone: a daemon whose hooks were there would hold
// nobody.
func TestAContainersRootIsNotTheMachines(t *testing.T) {
	if dir := os.Getenv("CGROUP_TEST_MOUNT"); dir != "" {
		err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("cgroup", dir, "cgroup2", 0, ""))
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("CGROUP_TEST_HIDE") != "" { // as a runtime leaves nothing else
			for {
				path, err := findCgroup2(func(_, path string) bool { return path != dir })
				if err != nil {
					break
				}
				if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
			}
			if path, err := Cgroup2Root(); err != nil || path != dir {
				t.Fatalf("the container's own: %q, %v", path, err)
			}
			if path, err := HostCgroup2Root(); !errors.Is(err, ErrNoCgroup2) {
				t.Fatalf("%q is taken for the machine's: %v", path, err)
			}
			return
		}
		if path, err := HostCgroup2Root(); err != nil || path == dir {
			t.Fatalf("got %q, %v", path, err)
		}
		return
	}
	root, err := HostCgroup2Root()
	if err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(root, "phantom-ns-test-"+strings.ToLower(t.Name()))
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Remove(inner); err != nil {
			t.Error(err)
		}
	}()
	cgroup, err := os.Open(inner)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	for _, hide := range []string{"", "1"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "CGROUP_TEST_MOUNT="+t.TempDir(), "CGROUP_TEST_HIDE="+hide)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Cloneflags: syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS,
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("hidden %q: %v\n%s", hide, err, out)
		}
	}
}
