// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// TestP9ReplacedMaskedFileIsSeen: whatever parts a masked name from its file is
// told once, of the folders above it, too; what is written into it, and other
// names, are not.
func TestP9ReplacedMaskedFileIsSeen(t *testing.T) {
	dir := t.TempDir()
	name := func(n string) string { return filepath.Join(dir, n) }
	put := func(n string) {
		if err := os.WriteFile(name(n), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(name("above/folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	var covers []string
	for _, n := range []string{"replaced", "removed", "moved", "written", "kept", "lost", "above/one", "above/folder/below"} {
		put(n)
		covers = append(covers, name(n))
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
	put("above/folder/another")
	for _, err := range []error{
		os.Rename(name("new"), name("replaced")), os.Remove(name("removed")), os.Rename(name("moved"), name("elsewhere")),
		os.Rename(name("above/folder"), name("above/aside")), os.Rename(name("above"), name("aside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	put("removed")
	w.rest()
	if slices.Sort(told); !slices.Equal(told, []string{"below", "moved", "one", "removed", "replaced"}) {
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

// TestP9UncoveredAtTheEndIsTold: where no credential at rest is allowed, what
// happened last ends the session with an error, too, and is in the log.
func TestP9UncoveredAtTheEndIsTold(t *testing.T) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "audit.jsonl")
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSession(Config{Policy: &policy.File{KeyAtRest: "refuse"}})
	log, err := audit.Open(path, s.id)
	if err != nil {
		t.Fatal(err)
	}
	s.trail = &Trail{Log: log, Closing: s.closing}
	s.undo.push(log.Close)
	spec := &policy.Session{Filesystem: policy.Filesystem{Hide: []string{key}}}
	if err := s.watchCovers(spec, s.covered(spec, nil)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+" aside"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, ErrUncovered) {
		t.Errorf("the end says %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	record, err := audit.NewDecoder(f).Read()
	if err != nil || record.Reason != audit.ReasonKeyAtRest || record.Verdict != audit.Deny || record.Path != key {
		t.Errorf("recorded %+v, %v", record, err)
	}
}
