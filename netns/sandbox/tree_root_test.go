// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Links that root made in root's places are followed; others could have been
// planted (P11).
func TestResolve(t *testing.T) {
	top := t.TempDir() // root's
	system, user := filepath.Join(top, "system"), filepath.Join(top, "user")
	must(t, errors.Join(os.Chmod(top, 0o755), os.Mkdir(system, 0o755), os.Mkdir(user, 0o755), os.Mkdir(system+"/open", 0o755)))
	must(t, errors.Join(os.Chown(user, testUID, testGID), os.Chmod(system+"/open", 0o777)))
	must(t, os.WriteFile(system+"/file", nil, 0o644))
	for link, target := range map[string]string{
		"system/link":      "file",
		"system/chain":     "../system/./link",
		"system/absolute":  system + "/chain",
		"system/dangling":  "missing/further",
		"system/loop":      "loop",
		"system/theirs":    "file",
		"system/open/link": "../file",
		"user/link":        "../system/file",
		"system/through":   "../user/link",
	} {
		must(t, os.Symlink(target, filepath.Join(top, link)))
	}
	must(t, os.Lchown(system+"/theirs", testUID, testGID))
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{"system/file", "system/file", nil},
		{"system/link", "system/file", nil},
		{"system/chain", "system/file", nil},
		{"system/absolute", "system/file", nil},
		{"system/open/../link", "system/file", nil},
		{"system/dangling", "system/missing/further", nil},
		{"none/at/all", "none/at/all", nil},
		{"system/loop", "", unix.ELOOP},
		{"system/theirs", "", unix.ELOOP},
		{"system/open/link", "", unix.ELOOP},
		{"user/link", "", unix.ELOOP},
		{"system/through", "", unix.ELOOP},
	} {
		got, err := resolve(filepath.Join(top, c.path))
		want := c.want
		if want != "" {
			want = filepath.Join(top, want)
		}
		if got != want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v, want %q, %v", c.path, got, err, want, c.err)
		}
	}
}

// A link, also the last part of a path, is not opened, nor one of /proc.
func TestOpenExact(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/etc/passwd", dir+"/link"))
	must(t, os.Symlink("/etc", dir+"/folder"))
	for _, path := range []string{dir + "/link", dir + "/folder/passwd", "/proc/self/exe", "/proc/self/root/etc"} {
		if fd, err := openExact(path); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: descriptor %d, %v, want %v", path, fd, err, unix.ELOOP)
		}
	}
}

// P7: the keys of the supervisor's session stay outside, and with them the
// bounding set.
func TestShed(t *testing.T) {
	type state struct {
		keyring int
		status  map[string]string
		err     error
	}
	states := make(chan state, 2)
	go func() {
		runtime.LockOSThread() // and never unlocked: this thread is spoilt
		for i := range 2 {
			var s state
			if i == 1 {
				s.err = shed()
			}
			s.keyring, _ = unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
			text, err := os.ReadFile("/proc/thread-self/status")
			s.err = errors.Join(s.err, err)
			s.status = parseStatus(string(text))
			states <- s
		}
	}()
	before, after := <-states, <-states
	must(t, errors.Join(before.err, after.err))
	if after.keyring == before.keyring {
		t.Errorf("session keyring is still %d", after.keyring)
	}
	if s := after.status; s["CapBnd"] != "0000000000000000" || s["NoNewPrivs"] != "1" || s["CapInh"] != s["CapPrm"] {
		t.Errorf("status is %v", s)
	}
}

// A systemd host's /etc/resolv.conf is a link into /run, where it has to be
// made again; another host has no nsswitch.conf. Neither is changed.
func TestResolvConfIsLink(t *testing.T) {
	r := newRig(t)
	upper, work := folder(t, "upper"), folder(t, "upperwork")
	must(t, errors.Join(os.Chown(upper, 0, 0), os.Chmod(upper, 0o755)))
	cmd, _ := r.supervisor("sh", "-c", "readlink /etc/resolv.conf; cat /etc/resolv.conf; ls /etc/nsswitch.conf 2>/dev/null || echo none")
	cmd.Path, cmd.Args = "/usr/bin/unshare", append([]string{"unshare", "--mount", "sh", "-c",
		"mount -t overlay none -o lowerdir=/etc,upperdir=$0,workdir=$1 /etc && umount /etc/resolv.conf /etc/nsswitch.conf 2>/dev/null; " +
			"ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf && rm /etc/nsswitch.conf && exec $2",
		upper, work}, cmd.Path)
	cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SUPERVISE=1")
	err := cmd.Run()
	if text := r.output.end(); text != "../run/systemd/resolve/stub-resolv.conf\nnameserver 198.18.255.1\nnone\n" || err != nil {
		t.Errorf("wrote %q and ended with %v", text, err)
	}
}
