// SPDX-License-Identifier: Apache-2.0

//go:build root

package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// A home is a user's, on the namespace's own tmpfs.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T) *home {
	t.Helper()
	must(t, os.MkdirAll("/tmp/home", 0o755))
	must(t, os.MkdirAll("/tmp/home/u/project", 0o755))
	must(t, os.Chown("/tmp/home/u", nobody, nobody))
	must(t, os.Chown("/tmp/home/u/project", nobody, nobody))
	return &home{t, "/tmp/home/u"}
}

func (h *home) bundle(venv string) string {
	name := filepath.Join(h.dir, "project", venv, "lib/python3.11/site-packages/certifi/cacert.pem")
	must(h.t, os.MkdirAll(filepath.Dir(name), 0o755))
	return name
}

func (h *home) options(a *authority) Options {
	o := hostOptions(a)
	o.Home, o.Dir, o.Env = h.dir, filepath.Join(h.dir, "project"), nil
	return o
}

// P11: links, FIFOs, devices, magic links and directories that a user can plant are skipped with
// a warning each; what they lead to is neither covered, nor opened, nor written.
func TestP11PlantedTargets(t *testing.T) {
	if !inside(t) {
		return
	}
	h := newHome(t)
	const victim = "/tmp/victim"
	must(t, os.WriteFile(victim, []byte("victim"), 0o644))
	plain := h.bundle("plain")
	must(t, os.WriteFile(plain, []byte("theirs"), 0o644))
	must(t, os.Chown(plain, nobody, nobody))

	link, magic, fifo, device := h.bundle("link"), h.bundle("magic"), h.bundle("fifo"), h.bundle("device")
	must(t, os.Symlink(victim, link))
	must(t, os.Symlink("/proc/self/fd/0", magic))
	must(t, unix.Mkfifo(fifo, 0o666))
	must(t, unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	directory := h.bundle("directory")
	must(t, os.Mkdir(directory, 0o755))
	must(t, os.Symlink("/etc", filepath.Join(h.dir, "project/sub")))
	o := h.options(newAuthority(t, sessionName))
	o.Env = []string{"VIRTUAL_ENV=/proc/self/root/usr", "CONDA_PREFIX=/proc/1/cwd", "JAVA_HOME=" + h.dir + "/project/sub"}
	p := applied(t, o)

	for _, name := range []string{link, magic, fifo, device, directory, "/proc"} {
		if !warned(p, `"`+name+`"`) {
			t.Errorf("no warning about %s", name)
		}
		if strings.Contains(mounts(t), " "+name+" ro") {
			t.Errorf("%s is covered", name)
		}
	}
	if data, err := os.ReadFile(plain); err != nil || string(data) != string(p.bundle()) {
		t.Errorf("the user's regular file is not covered: %v", err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "victim" {
		t.Errorf("victim: %q %v", data, err)
	}
	must(t, unix.Unmount(plain, 0))
	if data, err := os.ReadFile(plain); err != nil || string(data) != "theirs" {
		t.Errorf("the file under the cover changed: %q %v", data, err)
	}
}

// A link of the user's in a directory of root's, as a package manager that runs as the user's
// group or a careless chown leaves one.
func TestP11LinkOwnedByAnother(t *testing.T) {
	w := newWorld(t)
	w.file("/etc/victim", "x")
	w.link("/etc/ssl/cert.pem", "/etc/victim")
	must(t, os.Lchown(w.at("/etc/ssl/cert.pem"), nobody, nobody))
	p := w.build(w.options())
	if len(p.targets) != 0 || !warned(p, "/etc/ssl/cert.pem", "a link root does not own") {
		t.Errorf("%d targets, warnings %q", len(p.targets), p.Warnings)
	}
}

// Between Build and Apply a user replaces what was found.
func TestP11SwappedBeforeApply(t *testing.T) {
	if !inside(t) {
		return
	}
	h := newHome(t)
	const victim = "/tmp/victim"
	must(t, os.WriteFile(victim, []byte("victim"), 0o644))
	file, dir, gone := h.bundle("file"), h.bundle("dir"), h.bundle("gone")
	for _, name := range []string{file, dir, gone} {
		must(t, os.WriteFile(name, []byte("theirs"), 0o644))
	}
	p, err := Build(h.options(newAuthority(t, sessionName)))
	must(t, err)
	must(t, os.Remove(file))
	must(t, os.Symlink(victim, file))
	must(t, os.RemoveAll(filepath.Dir(dir)))
	must(t, os.Symlink("/tmp", filepath.Dir(dir)))
	must(t, os.WriteFile("/tmp/cacert.pem", []byte("victim"), 0o644))
	must(t, os.Remove(gone))
	must(t, p.Apply(Dir))
	for _, name := range []string{victim, "/tmp/cacert.pem"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != "victim" {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	if !warned(p, `"`+file+`"`, "a link") || !warned(p, `"`+filepath.Dir(dir)+`"`, "a link") || len(p.Warnings) != 2 {
		t.Errorf("warnings %q", p.Warnings)
	}
}

// The agent's home is an overlay, where a file's device number is not its directory's.
func TestHomeOnAnOverlayIsCovered(t *testing.T) {
	if !inside(t) {
		return
	}
	h := newHome(t)
	bundle := h.bundle("venv")
	must(t, os.WriteFile(bundle, []byte("theirs"), 0o644))
	store := filepath.Join(h.dir, ".sdkman/candidates/java/21/lib/security/cacerts")
	must(t, os.MkdirAll(filepath.Dir(store), 0o755))
	must(t, os.WriteFile(store, makeStore(t, entry{"a", when, []byte("A")}), 0o644))
	must(t, os.MkdirAll("/tmp/over/upper", 0o755))
	must(t, os.MkdirAll("/tmp/over/scratch", 0o755))
	must(t, unix.Mount("overlay", h.dir, "overlay", 0, "lowerdir="+h.dir+",upperdir=/tmp/over/upper,workdir=/tmp/over/scratch"))
	p := applied(t, h.options(newAuthority(t, sessionName)))
	if data, err := os.ReadFile(bundle); err != nil || string(data) != string(p.bundle()) {
		t.Errorf("bundle: %v", err)
	}
	data, err := os.ReadFile(store)
	must(t, err)
	same(t, "aliases", aliases(t, data), []string{"a", sessionAlias})
	if left, err := os.ReadDir("/tmp/over/upper"); err != nil || len(left) != 0 {
		t.Errorf("written through to the upper layer: %v %v", left, err)
	}
}

// The system's own links are followed: a distribution's chain ends covered.
func TestSystemLinksAreCoveredAtTheirEnd(t *testing.T) {
	if !inside(t) {
		return
	}
	root := "/tmp/root"
	a := newAuthority(t, sessionName)
	for _, dir := range []string{"/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted/pem", "/etc/pki/ca-trust/source/anchors", "/etc/ssl", "/run/phantom-ns"} {
		must(t, os.MkdirAll(root+dir, 0o755))
	}
	bundle := "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	must(t, os.WriteFile(root+bundle, []byte("old"), 0o644))
	must(t, os.Symlink(bundle, root+"/etc/pki/tls/certs/ca-bundle.crt"))
	must(t, os.Symlink("../ca-trust/extracted/pem/tls-ca-bundle.pem", root+"/etc/pki/tls/cert.pem"))
	must(t, os.Symlink("../pki/tls/certs", root+"/etc/ssl/certs"))
	o := Options{SystemRoots: []byte("# roots\n"), CA: a.pem(), UID: nobody, Root: root}
	p, err := Build(o)
	must(t, err)
	must(t, p.Apply(root+Dir))
	must(t, unix.Chroot(root))
	for _, name := range []string{bundle, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/tls/cert.pem", "/etc/ssl/certs/ca-bundle.crt", BundlePath} {
		if data, err := os.ReadFile(name); err != nil || string(data) != string(p.bundle()) {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	for _, name := range []string{"/etc/pki/ca-trust/source/anchors/", "/etc/ssl/certs/", "/etc/pki/tls/certs/"} {
		if data, err := os.ReadFile(name + copiedCA); err != nil || string(data) != string(a.pem()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.Warnings) != 0 {
		t.Errorf("warnings %q", p.Warnings)
	}
}
