// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseMountinfo(t *testing.T) {
	const text = `22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
31 27 8:1 /a\040b /mnt/with\040space\134and\011tab ro,nosuid - vfat /dev/sda1 rw
`
	want := []mountPoint{
		{22, "0:21", "/", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{27, "254:0", "/", "/", "ext4", 0},
		{31, "8:1", "/a b", "/mnt/with space\\and\ttab", "vfat", unix.MS_RDONLY | unix.MS_NOSUID},
	}
	got, err := parseMountinfo(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mountPoint{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"22 27 0:21 /", "x 27 0:21 / /proc rw - proc proc rw", "\n"} {
		if _, err := parseMountinfo(bad); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add("22 27 0:21 / /proc rw,nosuid - proc proc rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		points, err := parseMountinfo(text)
		if err != nil && points != nil {
			t.Error("mounts beside an error")
		}
	})
}

func TestParseSockets(t *testing.T) {
	const text = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20123 /run/systemd/private
0000000000000000: 00000002 00000000 00010000 0001 01 20124 /home/u/a b/sock
0000000000000000: 00000003 00000000 00000000 0001 03 20125
0000000000000000: 00000002 00000000 00010000 0001 01 20126 @/tmp/abstract
0000000000000000: 00000002 00000000 00010000 0001 01 20127 /home/u/a b/sock
0000000000000000: 00000002 00000000 00010000 0001 01 20128 relative/sock
0000000000000000: 00000002 00000000 00010000 0001 01 20129 /var/lib/lxd/unix.socket
`
	want := []string{"/home/u/a b/sock", "/var/lib/lxd/unix.socket"}
	if diff := cmp.Diff(want, parseSockets(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add("0: 2 0 1 1 1 2 /home/sock\n/\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, path := range parseSockets(text) {
			if path == "" || path[0] != '/' {
				t.Errorf("path %q", path)
			}
		}
	})
}
