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
	for i := range sessions {
		log := file.Log(fmt.Sprint("session-", i))
		wait.Go(func() {
			for range each {
				if err := log.Write(full()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var parts []string
	for i := range moves {
		parts = append(parts, fmt.Sprint(path, ".", i))
		if err := errors.Join(os.Rename(path, parts[i]), file.Reopen()); err != nil {
			t.Error(err)
		}
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

func TestAFileThatCannotBeReopenedIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	file, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := file.Log("s")
	if err := errors.Join(os.Rename(path, path+".1"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := file.Reopen(); err == nil {
		t.Error("a directory was opened")
	}
	if err := errors.Join(log.Write(full()), log.Close(), log.Write(full())); err != nil {
		t.Error(err)
	}
	if n := bytes.Count(read(t, path+".1"), []byte{'\n'}); n != 2 {
		t.Errorf("%d records", n)
	}
	if err := errors.Join(file.Close(), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if err := log.Write(full()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := file.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
