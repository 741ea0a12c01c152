// SPDX-License-Identifier: Apache-2.0

package mountinfo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	const text = `22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
27 1 254:0 / / rw,relatime master:2 shared:1 - ext4 /dev/vda rw,discard
31 27 8:1 /a\040b /mnt/with\040space\134and\011tab ro,nosuid - vfat /dev/sda1 rw
32 27 0:31 / shared:1 rw - tmpfs  rw,size=64k
33 27 0:29 / /sys/fs/cgroup/pids rw master:9 - cgroup shared:1 rw,pids
`
	want := []Mount{
		{22, "0:21", "/", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, true, "proc", "rw"},
		{27, "254:0", "/", "/", 0, true, "ext4", "rw,discard"},
		{31, "8:1", "/a b", "/mnt/with space\\and\ttab", unix.MS_RDONLY | unix.MS_NOSUID, false, "vfat", "rw"},
		{32, "0:31", "/", "shared:1", 0, false, "tmpfs", "rw,size=64k"},
		{33, "0:29", "/", "/sys/fs/cgroup/pids", 0, false, "cgroup", "rw,pids"},
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseLeavesNothingOut(t *testing.T) {
	const good = "22 27 0:21 / /proc rw - proc proc rw\n"
	for _, bad := range []string{"22 27 0:21 /", "x 27 0:21 / /proc rw - proc proc rw", "22 27 0:21 / /proc rw - proc proc", "\n"} {
		if all, err := Parse(good + bad); err == nil || all != nil {
			t.Errorf("%q: %v, %v", bad, all, err)
		}
	}
}

func TestReadFindsTheRoot(t *testing.T) {
	all, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Path == "/" {
			return
		}
	}
	t.Errorf("no root among %v", all)
}

func FuzzParse(f *testing.F) {
	f.Add("22 27 0:21 / /proc rw,nosuid - proc proc rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Parse(text)
		if err != nil && all != nil {
			t.Error("mounts beside an error")
		}
	})
}
