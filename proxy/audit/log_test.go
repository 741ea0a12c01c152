// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, path, session string) *Log {
	t.Helper()
	log, err := Open(path, session)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLogChainsTheSessionsOfOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const sessions, each = 4, 200
	var wait sync.WaitGroup
	for i := range sessions {
		log := open(t, path, fmt.Sprint("session-", i))
		for range 2 {
			wait.Go(func() {
				for range each / 2 {
					if err := log.Write(full()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wait.Wait()
	data := read(t, path)
	if n := bytes.Count(data, []byte{'\n'}); n != sessions*each {
		t.Errorf("%d lines", n)
	}
	if err := Verify(bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
}

func TestLogStampsWhatTheProxyMustNotChoose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path, "mine")
	forged := full()
	forged.Session, forged.Seq, forged.Prev, forged.V = "another", 99, "feed", 7
	if err := log.Write(forged); err != nil {
		t.Fatal(err)
	}
	got, err := NewDecoder(bytes.NewReader(read(t, path))).Read()
	if err != nil {
		t.Fatal(err)
	}
	if got.Session != "mine" || got.Seq != 1 || got.Prev != "" || got.V != Version || got.Time.Equal(forged.Time) {
		t.Errorf("got %+v", got)
	}
	if got.ID != forged.ID {
		t.Errorf("id %q is not the one the agent was shown", got.ID)
	}
}

func TestLogModeAndKind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	open(t, path, "s")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink(path, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{link, fifo, dir, filepath.Join(dir, "none", "audit.jsonl")} {
		if log, err := Open(bad, "s"); err == nil {
			log.Close()
			t.Errorf("opened %s", filepath.Base(bad))
		}
	}
}

func TestClosedLogRefuses(t *testing.T) {
	log := open(t, filepath.Join(t.TempDir(), "audit.jsonl"), "s")
	if err := errors.Join(log.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	if err := log.Write(full()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// limitFile makes writes past size end short and then with EFBIG, as a full
// disk does with ENOSPC: those of go test's own log of opened files, too, so open
// none before lift.
func limitFile(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}
}

func TestD7FullDiskIsAnErrorAndLeavesNoPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, other := open(t, path, "a"), open(t, path, "b")
	if err := log.Write(full()); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	lift := limitFile(t, uint64(len(before)+100))
	err := log.Write(full())
	lift()
	if err == nil {
		t.Error("a record that did not fit is not an error")
	}
	if after := read(t, path); !bytes.Equal(after, before) {
		t.Errorf("part of a record stayed: %q", after[len(before):])
	}
	if err := errors.Join(other.Write(full()), log.Write(full())); err != nil {
		t.Fatal(err)
	}
	if err := Verify(bytes.NewReader(read(t, path))); err != nil {
		t.Error(err)
	}
}

func TestTornLineSpoilsNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a, b := open(t, path, "a"), open(t, path, "b")
	for range 2 {
		if err := errors.Join(a.Write(full()), b.Write(full())); err != nil {
			t.Fatal(err)
		}
		// A writer was killed within a write.
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteString(`{"v":1,"ti`)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Write(full()), a.Write(full())); err != nil {
		t.Fatal(err)
	}
	err := Verify(bytes.NewReader(read(t, path)))
	if got := lines(err); got != "3 6" {
		t.Errorf("faults at lines %q, want the torn ones alone: %v", got, err)
	}
}

// lines returns the line numbers of an error of Verify.
func lines(err error) string {
	var numbers []string
	if joined, ok := errors.Unwrap(err).(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			numbers = append(numbers, fmt.Sprint(err.(*Fault).Line))
		}
	}
	return strings.Join(numbers, " ")
}

func TestVerifyFindsWhatWasDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a, b := open(t, path, "a"), open(t, path, "b")
	for range 3 { // a1 b1 a2 b2 a3 b3
		if err := errors.Join(a.Write(full()), b.Write(full())); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.SplitAfter(bytes.TrimSuffix(read(t, path), []byte{'\n'}), []byte{'\n'})
	whole[5] = append(whole[5], '\n')
	join := func(order ...int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, whole[i]...)
		}
		return out
	}
	changed := bytes.Replace(join(0, 1, 2, 3, 4, 5), []byte("POST"), []byte("GETS"), 1)
	for name, test := range map[string]struct {
		data  []byte
		lines string
	}{
		"untouched":  {join(0, 1, 2, 3, 4, 5), ""},
		"cut off":    {join(0, 1, 2, 3), ""}, // said in the package comment
		"empty":      {nil, ""},
		"changed":    {changed, "3"},
		"removed":    {join(0, 1, 3, 4, 5), "4"},
		"first gone": {join(1, 2, 3, 4, 5), "2"},
		"moved":      {join(0, 1, 4, 3, 2, 5), "3 5"},
		"twice":      {join(0, 0, 1, 2, 3, 4, 5), "2"},
		"inserted":   {append([]byte("x\n"), join(0, 1)...), "1"},
		"unfinished": {join(0, 1, 2)[:len(join(0, 1, 2))-1], "3"},
		"too long":   {append(bytes.Repeat([]byte{'x'}, 3*MaxLine), append([]byte{'\n'}, join(0, 1)...)...), "1"},
		"blank":      {append([]byte("\n"), join(0)...), "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Verify(bytes.NewReader(test.data)); lines(err) != test.lines {
				t.Errorf("faults at lines %q, want %q: %v", lines(err), test.lines, err)
			}
		})
	}
}

func TestVerifyBoundsItsReport(t *testing.T) {
	err := Verify(strings.NewReader(strings.Repeat("junk\n", 1000)))
	if n := len(strings.Fields(lines(err))); n != maxFaults {
		t.Errorf("%d faults told", n)
	}
}

func BenchmarkLog(b *testing.B) {
	log := open(b, filepath.Join(b.TempDir(), "audit.jsonl"), NewID())
	r := full()
	b.ReportAllocs()
	for b.Loop() {
		if err := log.Write(r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLogWritesTogether: several records in one write are chained as if each
// had been written by itself; with one outside the lists none is written.
func TestLogWritesTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := Open(path, "session")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	good := Record{Kind: KindRequest, Verdict: Allow, Reason: ReasonAllowed}
	bad := good
	bad.Reason = "made up"
	if err := log.WriteAll([]Record{good, bad}); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	for _, batch := range [][]Record{{good}, {good, good, good}, {good}} {
		if err := log.WriteAll(batch); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Verify(file); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || bytes.Count(text, []byte("\n")) != 5 || !bytes.Contains(text, []byte(`"seq":5,`)) {
		t.Errorf("%s, %v", text, err)
	}
}
