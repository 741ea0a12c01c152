// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
