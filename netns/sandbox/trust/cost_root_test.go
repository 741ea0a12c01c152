// SPDX-License-Identifier: Apache-2.0

//go:build root

package trust

import (
	"os"
	"testing"
)

// What a session's start pays on this host: the search, and the covers as files.
func BenchmarkBuild(b *testing.B) {
	o := hostOptions(newAuthority(b, sessionName))
	for b.Loop() {
		if _, err := Build(o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplicateHostDirectory(b *testing.B) {
	p, err := Build(hostOptions(newAuthority(b, sessionName)))
	must(b, err)
	t, err := openTree("/", 0)
	must(b, err)
	defer t.close()
	n, err := t.open("/etc/ssl/certs")
	must(b, err)
	defer n.release()
	for b.Loop() {
		dir, err := os.MkdirTemp("/dev/shm", "trust")
		must(b, err)
		must(b, os.Chmod(dir, 0o755))
		s, err := newStage(p, dir)
		must(b, err)
		r, err := s.replicate(n, hashedKind)
		must(b, err)
		r.release()
		s.close()
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}
