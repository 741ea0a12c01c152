// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// script runs a script and fails when it wrote anything but want.
func (r *rig) script(want, script string) {
	r.t.Helper()
	if text, status := r.run("sh", "-c", script); text != want {
		r.t.Errorf("wrote %q, want %q; ended with %+v; warnings %q", text, want, status, r.child.Warnings())
	}
}

func TestHostIsReadOnly(t *testing.T) {
	r := newRig(t)
	open := folder(t, "open")
	must(t, os.Chmod(open, 0o777))
	r.script("", "for d in / /usr /etc /opt /home "+open+" /sys /proc/sys /dev /run /run/phantom-ns; do touch $d/x 2>/dev/null && echo $d; done; true")
	if left, err := os.ReadDir(open); err != nil || len(left) > 0 {
		t.Errorf("left on the host: %v, %v", left, err)
	}
}

func TestWorkingDirectoryIsReal(t *testing.T) {
	r := newRig(t)
	extra, file := folder(t, "extra"), filepath.Join(r.home, "state.json")
	must(t, os.WriteFile(file, []byte("old"), 0o666))
	must(t, os.Chmod(file, 0o666))
	missing := filepath.Join(r.home, "missing")
	r.config.Spec.Write = []string{extra, file, missing}
	r.script("", "echo 1 > x; echo 2 > "+extra+"/x; echo 3 > "+file+"; mkdir "+missing)
	for name, want := range map[string]string{r.dir + "/x": "1\n", extra + "/x": "2\n", file: "3\n"} {
		if text, err := os.ReadFile(name); string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing path: %v", err)
	}
	if w := r.child.Warnings(); len(w) != 1 || !strings.Contains(w[0], "missing") {
		t.Errorf("warnings are %q", w)
	}
}

func TestHomeIsDiscarded(t *testing.T) {
	r := newRig(t)
	rc := filepath.Join(r.home, ".profile")
	must(t, os.WriteFile(rc, []byte("old\n"), 0o666))
	must(t, os.Chmod(rc, 0o666))
	r.script("old\nnew\n", "cat ~/.profile; echo new > ~/.profile; cat ~/.profile; mkdir -p ~/.local/bin; touch ~/.local/bin/git")
	if text, err := os.ReadFile(rc); string(text) != "old\n" {
		t.Errorf(".profile is %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(r.home, ".local")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf(".local: %v", err)
	}
}

func TestHomeAsWorkingDirectory(t *testing.T) {
	r := newRig(t)
	r.config.Spec.Dir = r.home
	r.script(r.home+"\n", "pwd; echo x > x")
	if _, err := os.Stat(filepath.Join(r.home, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("x: %v", err)
	}
	if w := r.child.Warnings(); len(w) != 1 || !strings.Contains(w[0], "discarded") {
		t.Errorf("warnings are %q", w)
	}
}

func TestHomeReadOnly(t *testing.T) {
	r := newRig(t)
	r.config.Spec.HomeMode = HomeReadOnly
	r.script("no\nyes\n", "touch ~/x 2>/dev/null || echo no; touch x && echo yes")
}

// An overlay cannot have an overlay of overlays below it: the home folder is
// then read-only, and the user told.
func TestHomeOverlayRefused(t *testing.T) {
	r := newRig(t)
	stacked := r.home
	for range 2 {
		upper, work := folder(t, "upper"), folder(t, "upperwork")
		// Upper and work have to be on one filesystem, and not below one another.
		must(t, unix.Mount("none", r.home, "overlay", 0, "lowerdir="+stacked+",upperdir="+upper+",workdir="+work))
		t.Cleanup(func() { must(t, unix.Unmount(r.home, unix.MNT_DETACH)) })
	}
	r.script("no\nyes\n", "touch ~/x 2>/dev/null || echo no; touch x && echo yes")
	if w := r.child.Warnings(); len(w) != 1 || !strings.Contains(w[0], "read-only") {
		t.Errorf("warnings are %q", w)
	}
}

func TestP8ScratchIsPrivate(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/host", nil, 0o666))
	r.script("1777 0 0\n1777 0 0\n1777 0 0\n700 31001 31002\n", "ls "+dir+" 2>/dev/null; stat -c '%a %u %g' /tmp /var/tmp /dev/shm /run/user/31001; touch /tmp/x /var/tmp/x /dev/shm/x /run/user/31001/x")
	for _, name := range []string{"/tmp/x", "/var/tmp/x", "/dev/shm/x"} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A project in /tmp is there, and nothing beside it.
func TestWorkingDirectoryInTmp(t *testing.T) {
	r := newRig(t)
	outer, err := os.MkdirTemp("/tmp", "phantom-ns-outer-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(outer)) })
	r.config.Spec.Dir = filepath.Join(outer, "project")
	must(t, errors.Join(os.Mkdir(r.config.Spec.Dir, 0o755), os.Chown(r.config.Spec.Dir, testUID, testGID)))
	must(t, os.WriteFile(outer+"/beside", nil, 0o666))
	r.script("project\n", "echo real > file; ls "+outer)
	if text, err := os.ReadFile(r.config.Spec.Dir + "/file"); string(text) != "real\n" {
		t.Errorf("file is %q, %v", text, err)
	}
}

func TestFilesOfSession(t *testing.T) {
	r := newRig(t)
	before, err := os.ReadFile("/etc/hosts")
	must(t, err)
	r.script("127.0.0.1 localhost\nhosts: files dns\nnameserver 198.18.255.1\n", "cat /etc/hosts /etc/nsswitch.conf /etc/resolv.conf")
	if after, err := os.ReadFile("/etc/hosts"); string(after) != string(before) {
		t.Errorf("the host's /etc/hosts changed: %v", err)
	}
}

func TestHideAndExpose(t *testing.T) {
	r := newRig(t)
	secret, shown := folder(t, "secret"), t.TempDir()
	must(t, os.WriteFile(secret+"/key", []byte("key\n"), 0o644))
	must(t, os.Chmod(filepath.Dir(shown), 0o755))
	must(t, os.WriteFile(shown+"/file", []byte("shown\n"), 0o666))
	must(t, os.Symlink(secret, r.home+"/link"))
	must(t, os.WriteFile(r.home+"/token", []byte("token\n"), 0o644))
	r.config.Spec.Hide = []string{r.home + "/link", r.home + "/token", "/no/such"}
	r.config.Spec.Expose = append(r.config.Spec.Expose, shown)
	r.script("shown\nno\n", "ls -A "+secret+"; cat ~/token "+shown+"/file; touch "+shown+"/x 2>/dev/null || echo no")
}

// P5: sockets of the host, wherever they are bound.
func TestP5HostSockets(t *testing.T) {
	r := newRig(t)
	other := folder(t, "sockets")
	paths := []string{r.dir + "/s", r.home + "/s", other + "/s", t.TempDir() + "/s", "/run/phantom-ns-test.sock"}
	for _, path := range paths {
		l, err := net.Listen("unix", path)
		must(t, err)
		defer l.Close()
		must(t, os.Chmod(path, 0o777))
	}
	// Renamed after bind, as many servers do: the kernel lists the first name.
	for _, dir := range []string{r.dir, other} {
		must(t, os.Rename(dir+"/s", dir+"/renamed"))
		paths = append(paths, dir+"/renamed")
	}
	must(t, os.Mkdir(r.dir+"/below", 0o755))
	must(t, os.Rename(r.dir+"/renamed", r.dir+"/below/moved"))
	paths = append(paths, r.dir+"/below/moved")
	r.launch.Path = self(t)
	text, status := r.run(append([]string{"agent:unix"}, paths...)...)
	if strings.Contains(text, "connected") || strings.Count(text, "\n") != len(paths) {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
}

// A device outside /dev is none, where the agent writes and elsewhere.
func TestDevicesAreThoseOfDev(t *testing.T) {
	r := newRig(t)
	other := folder(t, "devices")
	for _, dir := range []string{r.dir, other} {
		must(t, unix.Mknod(dir+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		must(t, os.Chmod(dir+"/zero", 0o666))
	}
	r.script("refused\nrefused\n1\n", "for dir in "+r.dir+" "+other+"; do head -c 1 $dir/zero 2>/dev/null || echo refused; done; head -c 1 /dev/zero | wc -c")
}

// R7: a lookup below an automount point would have the host resolve and mount
// what it names. The agent finds an empty folder, and the daemon is not asked.
func TestAutomountIsNotAsked(t *testing.T) {
	dir := folder(t, "automount")
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	must(t, unix.Mount("test", dir, "autofs", 0, fmt.Sprintf("fd=%d,pgrp=%d,minproto=5,maxproto=5,indirect", pipe[1], unix.Getpgrp())))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	newRig(t).script("0\nrefused\n", "ls "+dir+" | wc -l; stat "+dir+"/label.example 2>/dev/null || echo refused")
	if n, err := unix.Read(pipe[0], make([]byte, 512)); err != unix.EAGAIN {
		t.Errorf("the daemon was asked: %d bytes, %v", n, err)
	}
}

// P11: links that a user could have planted are not followed.
func TestP11PlantedLinks(t *testing.T) {
	r := newRig(t)
	must(t, os.Symlink("/etc", r.home+"/etc"))
	must(t, unix.Mkfifo(r.home+"/fifo", 0o666))
	must(t, os.Chown(r.home+"/fifo", testUID, testGID))
	r.config.Spec.Write = []string{r.home + "/etc", r.home + "/etc/ssl"}
	r.script("no\n", "touch /etc/ssl/x 2>/dev/null || echo no")
	if w := r.child.Warnings(); len(w) != 2 {
		t.Errorf("warnings are %q", w)
	}
}

// The host's own mounts are as they were.
func TestHostMountsUntouched(t *testing.T) {
	before, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	newRig(t).script("", "true")
	after, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if string(after) != string(before) {
		t.Errorf("mounts were\n%s\nand are\n%s", before, after)
	}
}

// A mount of the host's below the working directory comes along, read-only.
func TestMountBelowWorkingDirectory(t *testing.T) {
	r := newRig(t)
	below := r.dir + "/below"
	must(t, os.Mkdir(below, 0o777))
	must(t, unix.Mount("none", below, "tmpfs", 0, "mode=777"))
	t.Cleanup(func() { must(t, unix.Unmount(below, unix.MNT_DETACH)) })
	must(t, os.WriteFile(below+"/file", []byte("file\n"), 0o666))
	r.script("file\nno\n", "cat below/file; touch below/x 2>/dev/null || echo no")
}

func TestProcIsMasked(t *testing.T) {
	newRig(t).script("no\n", "cat /proc/keys /proc/kallsyms /proc/kcore /proc/timer_list 2>/dev/null; echo 1 2>/dev/null > /proc/sys/kernel/hostname || echo no")
}

func TestP12OwnConfigurationIsCovered(t *testing.T) {
	r := newRig(t)
	const dir = "/etc/phantom-ns"
	if err := os.Mkdir(dir, 0o755); err == nil {
		t.Cleanup(func() { must(t, os.Remove(dir)) })
	}
	file, err := os.CreateTemp(dir, "test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(file.Name())) })
	must(t, file.Close())
	r.script("", "ls -A "+dir+"; touch "+dir+"/x 2>/dev/null && echo made; true")
}
