// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rig is a namespace and a cgroup of the test's own, and the programs attached.
type rig struct {
	t      testing.TB
	ns     *os.File
	cookie uint64
	cgroup *os.File
	object *Object
}

func newRig(t testing.TB, options Options) *rig {
	t.Helper()
	r := newBareRig(t)
	object, err := Load(options)
	require(t, err)
	t.Cleanup(func() { require(t, object.Close()) })
	r.object = object
	return r
}

// newBareRig has no object.
func newBareRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, cgroup: newCgroup(t)}
	r.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		r.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if errors.Is(err, unix.ENOPROTOOPT) { // below 5.14, where the legacy object serves and needs none
			return nil
		}
		return err
	})
	return r
}

// attach adds the session and attaches.
func (r *rig) attach(session Session) {
	r.t.Helper()
	require(r.t, r.object.AddSession(r.cookie, session))
	require(r.t, r.object.Attach(r.cgroup))
}

// inside calls f on a thread in the namespace, which it makes the first time. The thread ends with the call.
func (r *rig) inside(f func() error) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- r.enter(f)
	}()
	require(r.t, <-done)
}

func (r *rig) enter(f func() error) error {
	if r.ns != nil {
		if err := unix.Setns(int(r.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	r.ns = ns
	r.t.Cleanup(func() { ns.Close() })
	if err := raiseLoopback(); err != nil {
		return err
	}
	return f()
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// newCgroup makes a cgroup v2 leaf, wherever v2 is mounted.
func newCgroup(t testing.TB) *os.File {
	t.Helper()
	dir, err := os.MkdirTemp(cgroupMount(t), "phantom-bpf-")
	require(t, err)
	file, err := os.Open(dir)
	require(t, err)
	t.Cleanup(func() {
		file.Close()
		require(t, os.Remove(dir))
	})
	return file
}

func cgroupMount(t testing.TB) string {
	t.Helper()
	file, err := os.Open("/proc/self/mountinfo")
	require(t, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	t.Fatal("no cgroup v2 mount")
	return ""
}

// act runs one of the acts of this binary in the cgroup and the namespace, and returns what it printed and its pid.
func (r *rig) act(name string, args ...string) (output string, pid uint32) {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = name
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(r.cgroup.Fd())}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	r.inside(cmd.Start)
	require(r.t, cmd.Wait())
	return strings.TrimSpace(out.String()), uint32(cmd.Process.Pid)
}

func mustPrefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func require(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
