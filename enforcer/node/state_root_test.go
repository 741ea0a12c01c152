// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
)

// K2: what is written down of an attachment comes back as it was; what is none
// of ours is told, and keeps nothing else from coming back.
func TestK2AttachmentsAreReadBack(t *testing.T) {
	c := Config{Run: t.TempDir()}
	if err := os.Mkdir(c.attachments(), 0o700); err != nil {
		t.Fatal(err)
	}
	was := saved{
		Version:    savedVersion,
		Attachment: api.Attachment{Network: "net", Container: "c", Interface: "eth0", Namespace: "/run/netns/c", Policy: "web"},
		Cookie:     1 << 60, Session: "7f3a", Generation: 3, Started: time.Unix(1, 2).UTC(), Stopped: true, HostLinks: []hostLink{{7, []byte{2, 1}}, {9, nil}},
		Own: []netip.Addr{netip.MustParseAddr("10.99.0.2")},
	}
	if err := c.save(was); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(c.savedPath(was.Attachment.Key()))
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(c.attachments(), name) }
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path(name), data, mode), os.Chmod(path(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	spoilt := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	write(".c@eth1.json", good[:9], 0o600) // begun by a writer who died
	write("torn@eth0.json", good[:len(good)/2], 0o600)
	write("empty@eth0.json", nil, 0o600)
	write("other@eth0.json", good, 0o600)
	write("open@eth0.json", spoilt(`"container":"c"`, `"container":"open"`), 0o644)
	write("later@eth0.json", bytes.Replace(spoilt(`"container":"c"`, `"container":"later"`), []byte(fmt.Sprintf(`"version":%d`, savedVersion)), []byte(`"version":99`), 1), 0o600)
	write("more@eth0.json", bytes.Replace(spoilt(`"container":"c"`, `"container":"more"`), []byte(`"cookie"`), []byte(`"more":1,"cookie"`), 1), 0o600)
	write("long@eth0.json", bytes.Repeat([]byte(" "), maxSaved+1), 0o600)
	if err := os.Symlink(path("c@eth0.json"), path("link@eth0.json")); err != nil {
		t.Fatal(err)
	}
	all, bad, err := c.loadSaved()
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], was) {
		t.Errorf("read %+v, %v", all, err)
	}
	for name, says := range map[string]string{
		"torn": "EOF", "empty": "EOF", "other": "another attachment", "open": errNotRoots.Error(), "later": "version 99",
		"more": "more", "long": "", "link": unix.ELOOP.Error(),
	} {
		if err := bad[path(name+"@eth0.json")]; err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(bad) != 8 {
		t.Errorf("bad are %v", bad)
	}
	if err := errors.Join(c.unsave(was.Attachment.Key()), c.unsave(was.Attachment.Key())); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

// The seed is made once, and never again in the place of one that is damaged:
// that would change what containers hold.
func TestSeedIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed")
	first, err := loadSeed(path)
	if err != nil || len(first) != seedSize || bytes.Equal(first, make([]byte, seedSize)) {
		t.Fatalf("%x, %v", first, err)
	}
	if again, err := loadSeed(path); err != nil || !bytes.Equal(again, first) {
		t.Errorf("%x, %v", again, err)
	}
	for name, spoil := range map[string]func() error{
		"short": func() error { return os.Truncate(path, seedSize-1) },
		"long":  func() error { return os.WriteFile(path, make([]byte, seedSize+1), 0o600) },
		"open":  func() error { return errors.Join(os.WriteFile(path, first, 0o600), os.Chmod(path, 0o640)) },
		"link":  func() error { return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		if seed, err := loadSeed(path); err == nil || seed != nil {
			t.Errorf("%s: %x", name, seed)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
			t.Errorf("%s: it was replaced", name)
		}
		if err := errors.Join(os.Remove(path), os.WriteFile(path, first, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// O5: what proves that a namespace is gone, and what does not.
func TestO5OnlyAProofIsOne(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	file, there := filepath.Join(dir, "file"), filepath.Join(dir, "there")
	err := errors.Join(os.Mkdir(open, 0o755), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600), os.WriteFile(there, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	cookie := mountNamespace(t, there)
	for name, c := range map[string]struct {
		path   string
		cookie uint64
		gone   bool
	}{
		"there":               {there, cookie, false},
		"another":             {there, cookie + 1, true},
		"nothing":             {filepath.Join(dir, "nothing"), cookie, true},
		"a file":              {file, cookie, true},
		"another kind":        {"/proc/self/ns/pid", cookie, true},
		"the host's":          {"/proc/self/ns/net", cookie, true},
		"a process that died": {"/proc/4194305/ns/net", cookie, true}, // above PID_MAX_LIMIT
		"a folder of others'": {filepath.Join(open, "nothing"), cookie, false},
	} {
		t.Run(name, func(t *testing.T) {
			if gone := isGone(saved{Attachment: api.Attachment{Namespace: c.path}, Cookie: c.cookie}); gone != c.gone {
				t.Errorf("gone is %t", gone)
			}
		})
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err = reopen([]saved{{Attachment: api.Attachment{Namespace: filepath.Join(dir, "nothing")}}})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) || errors.Is(err, errGone) {
		t.Errorf("without descriptors: %v", err)
	}
}

// mountNamespace makes a network namespace at a path until the test ends.
func mountNamespace(t *testing.T, path string) (cookie uint64) {
	t.Helper()
	const self = "/proc/thread-self/ns/net"
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
		err = unix.Mount(self, path, "", unix.MS_BIND, "")
	}
	if err := errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if cookie, err = ns.Cookie(); err != nil {
		t.Fatal(err)
	}
	return cookie
}
