// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestP9WhatIsNotUnderstoodIsEmpty: whatever stands in the place of a credential
// file, the agent reads nothing of it.
func TestP9WhatIsNotUnderstoodIsEmpty(t *testing.T) {
	l := newLoot(t)
	l.put(".config/gh/hosts.yml", "github.com: {oauth_token: @@,\n  x: y}\n")
	l.put(".docker/config.json", "{\"auths\": @@")
	l.put(".netrc", "machine x passwd @@\n")
	l.put(".aws/credentials", "[default\naws_secret_access_key = @@\n")
	l.put(".cargo/credentials.toml", "token = \"@@\n")
	l.put(".kube/config", strings.Repeat("# @@\n", 1<<15))
	l.put(".vault-token", "@@")
	l.put("elsewhere/npmrc", "//x.test/:_authToken=@@\n")
	l.put("elsewhere/key", "@@")
	err := l.world.Do(func() error {
		for name, to := range map[string]string{".npmrc": "elsewhere/npmrc", ".smbcredentials": "elsewhere/key", ".git-credentials": ".npmrc-none"} {
			if err := os.Symlink(to, rig.Home+"/"+name); err != nil {
				return err
			}
		}
		// The agent could take the rights back: the file is its user's.
		if err := os.Chmod(rig.Home+"/.vault-token", 0); err != nil {
			return err
		}
		return unix.Mkfifo(rig.Home+"/.pgpass", 0o666)
	})
	if err != nil {
		t.Fatal(err)
	}
	r := l.world.Run(rig.Session{Args: []string{"sh", "-c", `cd ~; chmod 600 .vault-token 2>/dev/null
		timeout 2 cat .config/gh/hosts.yml .docker/config.json .netrc .aws/credentials .cargo/credentials.toml .kube/config .vault-token .npmrc .smbcredentials .pgpass
		cat elsewhere/npmrc; cat elsewhere/key; echo end`}})
	l.clean(r)
	if r.Stdout != "end\n" {
		t.Errorf("%v", r)
	}
	for _, name := range []string{"hosts.yml", "config.json", ".netrc", "credentials", "credentials.toml", ".kube/config"} {
		if !strings.Contains(r.Stderr, name+`" is empty for the agent`) {
			t.Errorf("not told of %s:\n%s", name, r.Stderr)
		}
	}
}

// TestP9FurtherNamesAreTold: another name of the same file is not masked, and
// the user is told so; the host's other mounts of it are.
func TestP9FurtherNamesAreTold(t *testing.T) {
	l := newLoot(t)
	key := l.put(".vault-token", "@@")
	l.oracle = nil
	other := l.put(".netrc", "machine x login y password @@\n")
	err := l.world.Do(func() error {
		if err := os.Link(rig.Home+"/.vault-token", rig.Home+"/backup"); err != nil {
			return err
		}
		if err := os.Mkdir("/home/second", 0o755); err != nil {
			return err
		}
		return unix.Mount(rig.Home, "/home/second", "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.world.Unbind("/home/second") })
	r := l.world.Run(rig.Session{Args: []string{"sh", "-c", "cat ~/.vault-token /home/second/.vault-token ~/.netrc /home/second/.netrc; cat ~/backup"}})
	if r.Stdout != "machine x login y \nmachine x login y \n"+key || !strings.Contains(r.Stderr, "has 2 names on the disk") {
		t.Errorf("%v", r)
	}
	if hits := rig.NewOracle(other).Bytes("output", r.Bytes()); len(hits) > 0 {
		t.Error(hits)
	}
}

// TestHomesOfManyKinds: a home that is a link, that is an overlay of overlays,
// that is on another file system; each works, and what is missing is said.
func TestHomesOfManyKinds(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func() error
		told    string
	}{
		"plain": {func() error { return nil }, ""},
		"a link": {func() error {
			if err := os.Symlink(rig.User, "/home/link"); err != nil {
				return err
			}
			passwd, err := os.ReadFile("/etc/passwd")
			if err != nil {
				return err
			}
			return os.WriteFile("/etc/passwd", []byte(strings.ReplaceAll(string(passwd), rig.Home+":", "/home/link:")), 0o644)
		}, ""},
		// What a program serves, as a network file system is to the kernel.
		"served by a program": {func() error { return served(rig.Home) }, ""},
		"an overlay":          {func() error { return overlay(rig.Home, 1) }, ""},
		"an overlay of an overlay": {func() error { return overlay(rig.Home, 2) },
			"the home folder is read-only, but for empty caches"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoot(t)
			l.put(".npmrc", "//x.test/:_authToken=@@\na=b\n")
			l.world.Give(rig.Home+"/.cache/old", []byte("old"), 0o600)
			if err := l.world.Do(func() error {
				if err := os.Chown(rig.Home+"/.cache", rig.UID, rig.GID); err != nil {
					return err
				}
				return c.prepare()
			}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				l.world.Do(func() error { return unix.Unmount(rig.Home, unix.MNT_DETACH) }) // ends who serves it
			})
			r := l.world.Run(rig.Session{Args: []string{"sh", "-c", `cat ~/.npmrc; echo written > ~/.cache/new; cat ~/.cache/new; stat -L -c %U ~ ~/.cache ~/.npmrc`},
				Policy: "version: 1\nfilesystem: {write: []}\n"})
			l.clean(r)
			want := "a=b\nwritten\n" + strings.Repeat(rig.User+"\n", 3)
			if r.Stdout != want || (r.Stderr != "") != (c.told != "") || !strings.Contains(r.Stderr, c.told) {
				t.Errorf("%v\nwant %s", r, want)
			}
			if got := l.world.Read(rig.Home + "/.cache/new"); got != nil {
				t.Errorf("the real cache has %q", got)
			}
		})
	}
}

// served puts a FUSE file system over dir that shows dir.
func served(dir string) error {
	const below = "/home/below"
	if err := os.Mkdir(below, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, below, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	out, err := exec.Command("bindfs", "-o", "nonempty,allow_other", below, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("bindfs: %w: %s", err, out)
	}
	return nil
}

// overlay puts overlays over dir.
func overlay(dir string, times int) error {
	for range times {
		scratch, err := os.MkdirTemp("/home", "overlay-")
		if err != nil {
			return err
		}
		if err := unix.Mount("none", scratch, "tmpfs", 0, ""); err != nil {
			return err
		}
		for _, name := range []string{"/upper", "/work"} {
			if err := os.Mkdir(scratch+name, 0o755); err != nil {
				return err
			}
		}
		if err := os.Chown(scratch+"/upper", rig.UID, rig.GID); err != nil {
			return err
		}
		err = unix.Mount("none", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+scratch+"/upper,workdir="+scratch+"/work")
		if err != nil {
			return err
		}
	}
	return nil
}
