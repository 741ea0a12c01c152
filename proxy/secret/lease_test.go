// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leased runs one helper's work on a lease, and returns the proxy's side.
func leased(t testing.TB, s *Store, name string, terms Terms) (*Lease, <-chan error) {
	t.Helper()
	var ends [6]*os.File
	for i := 0; i < len(ends); i += 2 {
		var err error
		if ends[i], ends[i+1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		err := s.grant(t.Context(), name, terms, ends[1], ends[2], ends[5])
		ends[2].Close()
		ends[5].Close()
		done <- err
	}()
	l := &Lease{Reply: ends[0], Update: ends[3], Ack: ends[4]}
	l.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { l.Close() })
	return l, done
}

// read is the leased value.
func read(t testing.TB, l *Lease) Value {
	t.Helper()
	v, err := l.Value()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLeaseReplaces(t *testing.T) {
	s := newStore(t)
	before, after, other := newCanary(t), newCanary(t), newCanary(t)
	if err := s.Set("main", Entry{Value: before.value(t), Hosts: []string{"a.test"}, Provider: "p"}); err != nil {
		t.Fatal(err)
	}
	set(t, s, "other", other)
	l, done := leased(t, s, "main", Terms{})
	before.same(t, read(t, l))
	if err := l.Save(after.value(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	get(t, s, "main", after)
	get(t, s, "other", other)
	if e, err := s.Get("main"); err != nil || len(e.Hosts) != 1 || e.Provider != "p" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestLeaseGivenBack(t *testing.T) {
	s, before := newStore(t), newCanary(t)
	set(t, s, "main", before)
	l, done := leased(t, s, "main", Terms{})
	read(t, l)
	l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	get(t, s, "main", before)
}

// TestLeaseIsOne: the second waits until the first has written, and reads that.
func TestLeaseIsOne(t *testing.T) {
	s, before := newStore(t), newCanary(t)
	set(t, s, "main", before)
	first, firstDone := leased(t, s, "main", Terms{})
	before.same(t, read(t, first))
	second, secondDone := leased(t, s, "main", Terms{})
	after := newCanary(t)
	if err := first.Save(after.value(t)); err != nil {
		t.Fatal(err)
	}
	after.same(t, read(t, second))
	second.Close()
	if err := errors.Join(<-firstDone, <-secondDone); err != nil {
		t.Error(err)
	}
}

// TestLeaseYieldsToAPerson: what somebody set meanwhile is not overwritten.
func TestLeaseYieldsToAPerson(t *testing.T) {
	s, before, theirs, ours := newStore(t), newCanary(t), newCanary(t), newCanary(t)
	set(t, s, "main", before)
	l, done := leased(t, s, "main", Terms{})
	read(t, l)
	set(t, s, "main", theirs)
	err := l.Save(ours.value(t))
	var refusal *Refusal
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), ErrChanged.Error()) {
		t.Errorf("got %v", err)
	}
	ours.absent(t, fmt.Sprint(err))
	if err := <-done; err != nil {
		t.Error(err)
	}
	get(t, s, "main", theirs)
}

// TestLeaseMakesAnEntry: only where it is asked to, with the hosts it was told.
func TestLeaseMakesAnEntry(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	l, done := leased(t, s, "main", Terms{})
	if v, err := l.Value(); err == nil {
		t.Errorf("absent: %v", v)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	l, done = leased(t, s, "main", Terms{Create: true, Hosts: []string{"a.test"}, Provider: "p"})
	if v, err := l.Value(); err == nil {
		t.Errorf("absent: %v", v)
	}
	if err := l.Save(c.value(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	get(t, s, "main", c)
	if e, err := s.Get("main"); err != nil || e.Hosts[0] != "a.test" || e.Provider != "p" || e.Created.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestLeaseRefusesJunk: what is no credential is not written.
func TestLeaseRefusesJunk(t *testing.T) {
	s, before := newStore(t), newCanary(t)
	set(t, s, "main", before)
	for _, junk := range []string{"{", "{}\n", `{"ok":true,"length":40}` + "\nshort", `{"ok":true,"length":5}` + "\nshort", `{"ok":true,"length":99999999}` + "\n",
		`{"ok":true,"length":16}` + "\n0123456789abcdefmore", `{"ok":true,"length":17}` + "\n01234567\n89abcdef"} {
		l, done := leased(t, s, "main", Terms{})
		read(t, l)
		if _, err := l.Update.WriteString(junk); err != nil {
			t.Fatal(err)
		}
		l.Update.Close()
		if err := <-done; err == nil && junk != "{}\n" {
			t.Errorf("%q passed", junk)
		}
		get(t, s, "main", before)
	}
}

// tradeStage is this test binary as a helper that is killed at a step.
const tradeStage = "secret.test: trade"

func tradeMain() {
	v, err := readLocked(os.Stdin)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := NewStore(os.Args[1])
	e, err := s.Get("main")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.reached = func(step string) {
		if step == os.Args[2] {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	fmt.Println(s.trade("main", e, v))
	os.Exit(0)
}

// TestCrashDuringTradeLosesNeither: killed at any step, the store has the old
// or the new, whole, and the next lease works.
func TestCrashDuringTradeLosesNeither(t *testing.T) {
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			s := newStore(t)
			before, after, later := newCanary(t), newCanary(t), newCanary(t)
			set(t, s, "main", before)
			cmd := exec.Command("/proc/self/exe")
			cmd.Args = []string{tradeStage, s.directory, storeFile + " " + step}
			cmd.Stdin = bytes.NewReader(after)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("not reached: %v: %s", err, out)
			}
			want := before
			if step == "renamed" || step == "done" {
				want = after
			}
			get(t, s, "main", want)
			l, done := leased(t, s, "main", Terms{})
			want.same(t, read(t, l))
			if err := l.Save(later.value(t)); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			get(t, s, "main", later)
		})
	}
}
