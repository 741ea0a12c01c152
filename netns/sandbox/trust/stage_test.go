// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (w *world) stage(p *Plan) *stage {
	w.t.Helper()
	w.mkdir("/staging")
	s, err := newStage(p, w.at("/staging"))
	w.check(err)
	w.t.Cleanup(s.close)
	return s
}

func (w *world) replicate(s *stage, name string, k kind) *replica {
	w.t.Helper()
	n, err := w.tree().open(name)
	w.check(err)
	w.t.Cleanup(n.release)
	r, err := s.replicate(n, k)
	w.check(err)
	w.t.Cleanup(r.release)
	return r
}

func TestStageWritesForEverybodyToRead(t *testing.T) {
	w := newWorld(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s := w.stage(w.build(w.options()))
	for name, want := range map[string]string{caFile: string(w.ca.pem()), bundleFile: "# roots\n" + string(w.ca.pem())} {
		info, err := os.Stat(w.at("/staging/" + name))
		w.check(err)
		data, err := os.ReadFile(w.at("/staging/" + name))
		w.check(err)
		if info.Mode().Perm() != 0o444 || string(data) != want {
			t.Errorf("%s: mode %v, content %q", name, info.Mode(), data)
		}
	}
	if filepath.Join(Dir, caFile) != CAPath || filepath.Join(Dir, bundleFile) != BundlePath {
		t.Error("the staging's layout is not the one the variables name")
	}
	_ = s
}

func TestStageMustBeRootsAndNew(t *testing.T) {
	w := newWorld(t)
	p := w.build(w.options())
	w.open("/open")
	if _, err := newStage(p, w.at("/open")); err == nil {
		t.Error("writable staging accepted")
	}
	w.stage(p)
	if _, err := newStage(p, w.at("/staging")); err == nil {
		t.Error("used staging accepted: its files may not be ours")
	}
	p.options.owner++
	w.mkdir("/other")
	if _, err := newStage(p, w.at("/other")); err == nil {
		t.Error("somebody else's staging accepted")
	}
}

func TestReplicaOfAHashedDirectory(t *testing.T) {
	w := newWorld(t)
	hash, err := subjectHash(w.ca.cert.RawSubject)
	w.check(err)
	w.file("/etc/ssl/certs/ca-certificates.crt", "old bundle")
	w.file("/etc/ssl/certs/local.pem", "local")
	w.link("/etc/ssl/certs/abcd0123.0", "local.pem")
	w.link(fmt.Sprintf("/etc/ssl/certs/%08x.0", hash), "local.pem")
	w.file("/etc/ssl/certs/private.pem", "key")
	w.chmod("/etc/ssl/certs/private.pem", 0o600)
	w.file("/etc/ssl/certs/large.pem", strings.Repeat("x", maxCopy+1))
	w.file("/etc/ssl/certs/java/cacerts", "store")
	w.check(unix.Mkfifo(w.at("/etc/ssl/certs/fifo"), 0o644))
	p := w.build(w.options())
	r := w.replicate(w.stage(p), "/etc/ssl/certs", hashedKind)

	at := func(name string) string { return w.at("/staging/" + r.name + "/" + name) }
	content := map[string]string{
		"ca-certificates.crt": "# roots\n" + string(w.ca.pem()), "local.pem": "local", "abcd0123.0": "local",
		fmt.Sprintf("%08x.0", hash): "local", fmt.Sprintf("%08x.1", hash): string(w.ca.pem()),
		copiedCA: string(w.ca.pem()), "private.pem": "", "large.pem": "",
	}
	for name, want := range content {
		if data, err := os.ReadFile(at(name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, error %v", name, data, err)
		}
	}
	var carried []string
	for _, n := range r.carried {
		carried = append(carried, n.name)
	}
	slices.Sort(carried)
	same(t, "carried", carried, []string{"java", "large.pem", "private.pem"})
	if _, err := os.Lstat(at("fifo")); err == nil || !warned(p, "fifo") {
		t.Errorf("a FIFO was copied, or nobody told; warnings %q", p.Warnings)
	}
}

func TestReplicaOfAnAnchorDirectoryHasTheCAOnly(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/etc/pki/ca-trust/source/anchors")
	r := w.replicate(w.stage(w.build(w.options())), "/etc/pki/ca-trust/source/anchors", anchorKind)
	list, err := os.ReadDir(w.at("/staging/" + r.name))
	w.check(err)
	if len(list) != 1 || list[0].Name() != copiedCA {
		t.Fatalf("names %v", list)
	}
}

func TestReplicaIsBounded(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/etc/ssl/certs")
	for i := range maxCarried + 3 {
		w.mkdir(fmt.Sprintf("/etc/ssl/certs/d%d", i))
	}
	p := w.build(w.options())
	r := w.replicate(w.stage(p), "/etc/ssl/certs", hashedKind)
	if len(r.carried) != maxCarried || !warned(p, "lacks") {
		t.Fatalf("%d carried, warnings %q", len(r.carried), p.Warnings)
	}
	for i := range maxCopied {
		w.link(fmt.Sprintf("/etc/ssl/certs/l%d", i), "x")
	}
	n, err := w.tree().open("/etc/ssl/certs")
	w.check(err)
	defer n.release()
	if _, err := w.stageAgain(p).replicate(n, hashedKind); err == nil {
		t.Fatal("more names than the bound were copied")
	}
}

func (w *world) stageAgain(p *Plan) *stage {
	w.t.Helper()
	w.check(os.RemoveAll(w.at("/staging")))
	return w.stage(p)
}
