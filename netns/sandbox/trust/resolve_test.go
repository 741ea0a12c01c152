// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"os"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestResolve(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/share/real.pem", "x")
	w.link("/etc/one", "/usr/share/real.pem")
	w.link("/etc/two", "../etc/./one")
	w.link("/etc/dir", "../usr/share")
	w.link("/etc/up", "../../../../usr/share/real.pem")
	w.link("/etc/loop", "loop")
	w.link("/etc/dangling", "/nowhere")
	w.open("/home/u")
	w.file("/home/u/plain.pem", "x")
	w.link("/home/u/link.pem", "/usr/share/real.pem")
	w.link("/home/u/dir", "/usr/share")
	w.link("/etc/touser", "/home/u/link.pem")
	w.link("/etc/touserplain", "/home/u/plain.pem")
	w.link("/tmp/sticky.pem", "/usr/share/real.pem")
	w.chmod("/tmp", 0o777|os.ModeSticky)
	w.link("/group/link.pem", "/usr/share/real.pem")
	w.chmod("/group", 0o775)
	w.mkdir("/nix")
	w.open("/nix/store")
	w.chmod("/nix/store", 0o775|os.ModeSticky)
	w.link("/nix/store/ca.pem", "/usr/share/real.pem")
	tree := w.tree()
	for _, c := range []struct{ name, want, refused string }{
		{"/usr/share/real.pem", "/usr/share/real.pem", ""},
		{"/usr//share/./x/../real.pem", "", "missing"},
		{"/usr/share/../share/real.pem", "/usr/share/real.pem", ""},
		{"/etc/one", "/usr/share/real.pem", ""},
		{"/etc/two", "/usr/share/real.pem", ""},
		{"/etc/dir/real.pem", "/usr/share/real.pem", ""},
		{"/etc/up", "/usr/share/real.pem", ""},
		{"/nix/store/ca.pem", "/usr/share/real.pem", ""},
		{"/etc/loop", "", "too many links"},
		{"/etc/dangling", "", "missing"},
		{"/etc/one/below", "", "missing"},
		{"/home/u/plain.pem", "/home/u/plain.pem", ""},
		{"/etc/touserplain", "/home/u/plain.pem", ""},
		{"/home/u/link.pem", "", "others than root can write"},
		{"/home/u/dir/real.pem", "", "others than root can write"},
		{"/etc/touser", "", "others than root can write"},
		{"/tmp/sticky.pem", "", "others than root can write"},
		{"/group/link.pem", "", "others than root can write"},
		{"/", "", "the root itself"},
		{"/etc/..", "", "the root itself"},
	} {
		t.Run(c.name, func(t *testing.T) { checkOpen(t, tree, c.name, c.want, c.refused) })
	}
}

func checkOpen(t *testing.T, tree *tree, name, want, refused string) {
	t.Helper()
	n, err := tree.open(name)
	if err == nil {
		defer n.release()
		if n.path != want {
			t.Fatalf("opened %q, want %q", n.path, want)
		}
		return
	}
	if want != "" || refused == "" || !missing(err) && !strings.Contains(err.Error(), refused) || missing(err) != (refused == "missing") {
		t.Fatalf("error %v, want %q %q", err, want, refused)
	}
}

func TestTrustedMeansEveryDirectory(t *testing.T) {
	w := newWorld(t)
	w.file("/a/b/c/file", "x")
	w.chmod("/a/b", 0o777)
	for name, want := range map[string]bool{"/a": true, "/a/b": false, "/a/b/c": false, "/a/b/c/file": false} {
		n, err := w.tree().open(name)
		w.check(err)
		if n.trusted != want {
			t.Errorf("%s trusted %v", name, n.trusted)
		}
		n.release()
	}
}

func TestOwnershipIsAsked(t *testing.T) {
	w := newWorld(t)
	w.link("/etc/link", "/etc/file")
	w.file("/etc/file", "x")
	stranger, err := openTree(w.dir, uint32(os.Getuid())+1)
	w.check(err)
	defer stranger.close()
	checkOpen(t, stranger, "/etc/link", "", "others than root can write")
	checkOpen(t, stranger, "/etc/file", "/etc/file", "")
}

func TestProcfsIsRefused(t *testing.T) {
	tree, err := openTree("/", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	for _, name := range []string{"/proc/self/environ", "/proc/self/root/etc/passwd", "/proc/self/fd/0", "/proc"} {
		checkOpen(t, tree, name, "", "on procfs")
	}
}

func TestReadInsistsOnTheSameFile(t *testing.T) {
	for name, replace := range map[string]func(w *world) error{
		"file": func(w *world) error { return os.WriteFile(w.at("/d/other"), []byte("secret"), 0o600) },
		"link": func(w *world) error { return os.Symlink("/etc/hostname", w.at("/d/other")) },
		"fifo": func(w *world) error { return unix.Mkfifo(w.at("/d/other"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.file("/d/file", "ours")
			n, err := w.tree().open("/d/file")
			w.check(err)
			defer n.release()
			w.check(replace(w))
			w.check(os.Rename(w.at("/d/other"), w.at("/d/file")))
			if data, err := n.read(100); err == nil {
				t.Fatalf("read %q", data)
			}
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	w := newWorld(t)
	w.file("/file", "12345")
	n, err := w.tree().open("/file")
	w.check(err)
	defer n.release()
	if data, err := n.read(5); err != nil || len(data) != 5 {
		t.Fatalf("%q %v", data, err)
	}
	var r *refusal
	if _, err := n.read(4); !errors.As(err, &r) {
		t.Fatalf("error %v", err)
	}
}

// A file and a directory on the way to it change places with links to a victim as fast as the
// machine allows; whatever is opened is never the victim.
func TestSwappedLinksAreNeverFollowed(t *testing.T) {
	w := newWorld(t)
	w.file("/root/victim/cacert.pem", "victim")
	w.open("/home")
	w.file("/home/certifi/cacert.pem", "plain")
	w.link("/home/evil", "/root/victim")
	w.link("/home/certifi/evil", "/root/victim/cacert.pem")
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			exchange(w, "/home/certifi", "/home/evil")
			exchange(w, "/home/certifi/cacert.pem", "/home/certifi/evil")
			runtime.Gosched()
		}
	}()
	tree, opened := w.tree(), 0
	for i := 0; i < 20_000; i++ {
		n, err := tree.open("/home/certifi/cacert.pem")
		if err != nil {
			continue
		}
		opened++
		if strings.HasPrefix(n.path, "/root") || path.Base(n.path) != "cacert.pem" {
			t.Errorf("reached %s", n.path)
		}
		if data, err := n.read(100); err == nil && string(data) == "victim" {
			t.Error("read the victim")
		}
		n.release()
	}
	stop.Store(true)
	<-done
	if opened == 0 {
		t.Fatal("nothing was ever opened: the test proves nothing")
	}
}

func exchange(w *world, a, b string) {
	_ = unix.Renameat2(unix.AT_FDCWD, w.at(a), unix.AT_FDCWD, w.at(b), unix.RENAME_EXCHANGE)
}

func TestNoDescriptorIsLeft(t *testing.T) {
	w := newWorld(t)
	w.file("/etc/ssl/certs/ca-certificates.crt", "x")
	w.link("/etc/ssl/certs/loop", "loop")
	w.file("/home/u/.venv/lib/python3.11/site-packages/certifi/cacert.pem", "x")
	w.link("/home/u/project/venv", "/nowhere")
	w.build(w.options())
	before := descriptors(t)
	for range 20 {
		w.build(w.options())
	}
	if after := descriptors(t); after > before {
		t.Fatalf("%d descriptors, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
