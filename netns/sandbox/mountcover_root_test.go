// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// give makes a file of the agent's with real content.
func (r *rig) give(name, content string) string {
	r.t.Helper()
	must(r.t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(r.t, os.Chown(filepath.Dir(name), testUID, testGID))
	must(r.t, os.WriteFile(name, []byte(content), 0o600))
	must(r.t, os.Chown(name, testUID, testGID))
	return name
}

func (r *rig) cover(name, content string) {
	r.launch.Covers = append(r.launch.Covers, Cover{Path: name, UID: testUID, GID: testGID, Mode: 0o640, Content: []byte(content)})
}

// TestP9CopiesStandInForFiles covers a file in the overlay, one in a place that
// is written for real, and a folder, and looks at them by every path.
func TestP9CopiesStandInForFiles(t *testing.T) {
	r := newRig(t)
	state := filepath.Join(r.home, ".state")
	rc, login := r.give(r.home+"/.npmrc", "REAL"), r.give(state+"/auth.json", "REAL")
	r.give(r.home+"/.ssh/id", "REAL")
	r.config.Spec.Write = []string{state}
	other := folder(t, "alias")
	must(t, unix.Mount(r.home, other, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(other, unix.MNT_DETACH)) })
	r.cover(rc, "COPY1\n")
	r.cover(login, "COPY2\n")
	r.cover(r.home+"/gone", "COPY3\n")
	r.launch.Covers = append(r.launch.Covers, Cover{Path: r.home + "/.ssh", UID: testUID, GID: testGID, Mode: 0o700, Folder: true,
		Files: []CoverFile{{Name: "known_hosts", UID: testUID, GID: testGID, Mode: 0o600, Content: []byte("HOSTS\n")}}})
	text, _ := r.run("sh", "-c", `cd `+r.home+`
		cat .npmrc .state/auth.json .ssh/known_hosts; ls .ssh; stat -c '%a %u' .ssh .state/auth.json
		cat `+other+`/.npmrc `+other+`/.state/auth.json; ls `+other+`/.ssh
		mv .npmrc x && cat x; test ! -e .npmrc && echo moved
		echo mine > .state/auth.json && cat .state/auth.json
		mv .state/auth.json y 2>/dev/null || echo fixed
		ls /run/phantom-ns/covers 2>/dev/null; ls gone 2>/dev/null; true`)
	want := "COPY1\nCOPY2\nHOSTS\nknown_hosts\n700 31001\n640 31001\nCOPY1\nCOPY2\nknown_hosts\nCOPY1\nmoved\nmine\nfixed\n"
	if text != want {
		t.Errorf("wrote %q\nwant  %q; warnings %q", text, want, r.child.Warnings())
	}
	for _, name := range []string{rc, login} {
		if data, err := os.ReadFile(name); string(data) != "REAL" {
			t.Errorf("%s is %q now, %v", name, data, err)
		}
	}
}

// TestP11CoversFollowNoPlantedLink: where a place has become something else
// since it was looked at, nothing is written, and nothing shown.
func TestP11CoversFollowNoPlantedLink(t *testing.T) {
	r := newRig(t)
	victim := r.give(r.home+"/victim", "REAL")
	must(t, os.Symlink(victim, r.home+"/link"))
	must(t, unix.Mkfifo(r.home+"/fifo", 0o666))
	must(t, os.Mkdir(r.home+"/folder", 0o755))
	for _, name := range []string{"/link", "/fifo", "/folder"} {
		r.cover(r.home+name, "COPY\n")
	}
	r.script("--0\n", "cd "+r.home+"; cat link; echo -n -; cat fifo; echo -n -; ls folder | wc -l")
	if data, err := os.ReadFile(victim); string(data) != "REAL" {
		t.Errorf("the link was followed: %q, %v", data, err)
	}
}

func TestCoversGiveWayToThePolicy(t *testing.T) {
	r := newRig(t)
	shown, hidden := r.give(r.home+"/shown", "REAL1\n"), r.give(r.home+"/hidden", "REAL2\n")
	r.cover(shown, "COPY\n")
	r.cover(hidden, "COPY\n")
	r.config.Spec.Expose = append(r.config.Spec.Expose, shown)
	r.config.Spec.Hide = []string{hidden}
	r.script("REAL1\n", "cat "+shown+" "+hidden)
}

func TestCoversOfAReadOnlyHome(t *testing.T) {
	r := newRig(t)
	rc := r.give(r.home+"/.npmrc", "REAL")
	r.config.Spec.HomeMode = HomeReadOnly
	r.cover(rc, "COPY\n")
	r.script("COPY\nno\n", "cat "+rc+"; echo x 2>/dev/null > "+rc+" || echo no")
}

func TestAliases(t *testing.T) {
	v := &view{points: []mountinfo.Mount{
		{ID: 1, Device: "8:1", Root: "/", Path: "/"}, {ID: 2, Device: "8:2", Root: "/@home", Path: "/home"},
		{ID: 3, Device: "8:2", Root: "/", Path: "/mnt/all"}, {ID: 4, Device: "8:2", Root: "/@home/u", Path: "/data"},
		{ID: 5, Device: "8:2", Root: "/@other", Path: "/other"}, {ID: 6, Device: "8:2", Root: "/@home/u/f", Path: "/one"},
	}}
	got := strings.Join(v.aliases("/home/u/f"), " ")
	if got != "/mnt/all/@home/u/f /data/f /one" {
		t.Errorf("aliases are %q", got)
	}
	if got := v.aliases("/etc/npmrc"); len(got) != 0 {
		t.Errorf("aliases are %q", got)
	}
}

// TestP9NestedMountsDoNotUncover: with namespaces of its own the agent can mount
// a folder elsewhere, but not without what covers it.
func TestP9NestedMountsDoNotUncover(t *testing.T) {
	r := newRig(t)
	state := filepath.Join(r.home, ".state")
	login := r.give(state+"/auth.json", "REAL")
	r.give(r.home+"/.netrc", "REAL")
	r.config.Spec.Write = []string{state}
	r.config.Spec.Permit = []string{PermitNestedSandbox}
	r.cover(login, "COPY\n")
	r.cover(r.home+"/.netrc", "COPY\n")
	r.script("COPY\nCOPY\nCOPY\ndone\n", `unshare -rm sh -c '
		mkdir /tmp/a /tmp/b /tmp/u /tmp/w
		mount --bind `+state+` /tmp/a 2>/dev/null && cat /tmp/a/auth.json
		mount --rbind `+state+` /tmp/a 2>/dev/null && cat /tmp/a/auth.json
		umount -l /tmp/a/auth.json 2>/dev/null && cat /tmp/a/auth.json
		umount -l `+login+` 2>/dev/null && cat `+login+`
		mount -t overlay -o lowerdir=`+state+`,upperdir=/tmp/u,workdir=/tmp/w none /tmp/b 2>/dev/null && cat /tmp/b/auth.json
		cat `+login+` `+r.home+`/.netrc; echo done'`)
}
