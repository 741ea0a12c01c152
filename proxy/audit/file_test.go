// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// Sessions of one file write beside its rotation; the chains go on from one
// file to the next and no record is lost.
func TestAFileThatIsMovedAwayIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	file, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const sessions, each, moves = 4, 300, 5
	var wait sync.WaitGroup
	var parts []string
	for i := range sessions {
		log := file.Log(fmt.Sprint("session-", i))
		wait.Go(func() {
			for n := range each {
				if err := log.Write(full()); err != nil {
					t.Error(err)
				}
				if i > 0 || n%50 != 49 || len(parts) == moves {
					continue
				}
				parts = append(parts, fmt.Sprint(path, ".", len(parts)))
				if err := os.Rename(path, parts[len(parts)-1]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, part := range append(parts, path) {
		all = append(all, read(t, part))
	}
	whole := slices.Concat(all...)
	if n := bytes.Count(whole, []byte{'\n'}); n != sessions*each {
		t.Errorf("%d records", n)
	}
	if err := Verify(bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
}

// Two processes that write to one log follow it, each by itself.
func TestLogsFollowTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	one, other := open(t, path, "one"), open(t, path, "other")
	var parts []string
	for i := range 3 {
		if err := errors.Join(one.Write(full()), other.Write(full())); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, fmt.Sprint(path, ".", i))
		if err := os.Rename(path, parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	var all [][]byte
	for _, part := range parts {
		all = append(all, read(t, part))
		if n := bytes.Count(all[len(all)-1], []byte{'\n'}); n != 2 {
			t.Errorf("%d records in %s", n, part)
		}
	}
	if err := Verify(bytes.NewReader(slices.Concat(all...))); err != nil {
		t.Error(err)
	}
}

// A copy that is truncated takes the next record at its beginning.
func TestAFileThatIsTruncatedIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path, "s")
	if err := errors.Join(log.Write(full()), log.Write(full())); err != nil {
		t.Fatal(err)
	}
	copied := read(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Write(full()), log.Write(full())); err != nil {
		t.Fatal(err)
	}
	rest := read(t, path)
	if n := bytes.Count(rest, []byte{'\n'}); n != 2 || rest[0] != '{' {
		t.Errorf("%d records in %q", n, rest)
	}
	if err := Verify(bytes.NewReader(append(copied, rest...))); err != nil {
		t.Error(err)
	}
}

// Nothing is written where nobody would find it.
func TestAFileThatCannotBeFollowedTakesNoRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path, "s")
	if err := errors.Join(log.Write(full()), os.Rename(path, path+".1"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := log.Write(full()); err == nil {
		t.Error("a record was written")
	}
	if err := errors.Join(os.Remove(path), log.Write(full()), log.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Verify(bytes.NewReader(append(read(t, path+".1"), read(t, path)...))); err != nil {
		t.Error(err)
	}
	if err := log.Write(full()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// The end of a session's log leaves those of the others in the same file.
func TestLogsOfOneFileEndByThemselves(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one, other := f.Log("one"), f.Log("other")
	if err := errors.Join(one.Write(full()), one.Close(), other.Write(full()), f.Close()); err != nil {
		t.Error(err)
	}
	if err := other.Write(full()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the file's end: %v", err)
	}
}
