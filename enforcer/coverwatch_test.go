// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// TestP9ReplacedMaskedFileIsSeen: whatever parts a masked name from its file is
// told once; what is written into it, and other names, are not.
func TestP9ReplacedMaskedFileIsSeen(t *testing.T) {
	dir := t.TempDir()
	name := func(n string) string { return filepath.Join(dir, n) }
	put := func(n string) {
		if err := os.WriteFile(name(n), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var covers []sandbox.Cover
	for _, n := range []string{"replaced", "removed", "moved", "written", "kept", "lost"} {
		put(n)
		covers = append(covers, sandbox.Cover{Path: name(n)})
	}
	w, err := newCoverWatch(covers)
	if err != nil {
		t.Fatal(err)
	}
	defer w.events.Close()
	var told []string
	w.tell = func(path string) { told = append(told, filepath.Base(path)) }
	put("new")
	put("written")
	for _, err := range []error{
		os.Rename(name("new"), name("replaced")), os.Remove(name("removed")), os.Rename(name("moved"), name("elsewhere")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	put("removed")
	w.rest()
	if slices.Sort(told); !slices.Equal(told, []string{"moved", "removed", "replaced"}) {
		t.Errorf("told of %q", told)
	}
	// Of what happens while events are lost, too.
	told = nil
	fd, err := Descriptor(w.events)
	if err != nil {
		t.Fatal(err)
	}
	put("new")
	if err := os.Rename(name("new"), name("lost")); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(fd, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	overflow := make([]byte, unix.SizeofInotifyEvent)
	copy(overflow[4:], []byte{0, unix.IN_Q_OVERFLOW >> 8})
	w.take(overflow)
	if !slices.Equal(told, []string{"lost"}) {
		t.Errorf("told of %q after events were lost", told)
	}
}
