// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// newLocked is a store with one entry and a passphrase; work is scrypt's least,
// which takes microseconds.
func newLocked(t *testing.T, entry, phrase canary) *Store {
	t.Helper()
	s := newStore(t)
	set(t, s, "openai", entry)
	s.work = 1
	if err := s.SetPassphrase(phrase.value(t)); err != nil {
		t.Fatal(err)
	}
	return NewStore(s.directory)
}

// locked is that store as it is: nothing in its files is in the clear.
func locked(t *testing.T, s *Store, want bool) {
	t.Helper()
	if is, err := s.Locked(); err != nil || is != want {
		t.Fatalf("locked: %v, %v", is, err)
	}
	if strings.Contains(snapshot(t, s), hexOf("AGE-SECRET-KEY")) == want {
		t.Fatal("the key in the clear, or not")
	}
}

func hexOf(text string) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range []byte(text) {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func TestPassphraseOpensTheStore(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	locked(t, s, true)
	untouched(t, s, c, ErrPassphrase)
	if err := s.Unlock(phrase.value(t)); err != nil {
		t.Fatal(err)
	}
	get(t, s, "openai", c)
	later := newCanary(t)
	set(t, s, "other", later)
	get(t, s, "other", later)
	untouched(t, NewStore(s.directory), c, ErrPassphrase)
	onlyTwoFiles(t, s)
}

func TestWrongPassphraseIsNamedAndChangesNothing(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	before := snapshot(t, s)
	for name, wrong := range map[string]Value{
		"another": newCanary(t).value(t), "empty": {}, "cut": phrase[:len(phrase)-1].value(t), "longer": append(phrase[:len(phrase):len(phrase)], 'a').value(t),
	} {
		err := s.Unlock(wrong)
		if !errors.Is(err, ErrWrongPassphrase) {
			t.Fatalf("%s: %v", name, err)
		}
		phrase.absent(t, err.Error())
		untouched(t, s, c, ErrPassphrase)
	}
	if err := s.SetPassphrase(phrase.value(t)); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a store that was not unlocked: %v", err)
	}
	if snapshot(t, s) != before {
		t.Error("files changed")
	}
}

func TestPassphraseIsChangedAndRemoved(t *testing.T) {
	c, first, second := newCanary(t), newCanary(t), newCanary(t)
	s := newLocked(t, c, first)
	s.work = 1
	if err := errors.Join(s.Unlock(first.value(t)), s.SetPassphrase(second.value(t))); err != nil {
		t.Fatal(err)
	}
	locked(t, s, true)
	again := NewStore(s.directory)
	if err := again.Unlock(first.value(t)); !errors.Is(err, ErrWrongPassphrase) {
		t.Fatalf("the first one: %v", err)
	}
	if err := errors.Join(again.Unlock(second.value(t)), again.SetPassphrase(Value{})); err != nil {
		t.Fatal(err)
	}
	locked(t, s, false)
	get(t, NewStore(s.directory), "openai", c)
	if err := newStore(t).SetPassphrase(second.value(t)); !errors.Is(err, ErrAbsent) {
		t.Errorf("no store: %v", err)
	}
}

func TestEveryFlippedByteOfASealedKeyIsNoticed(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	path := filepath.Join(s.directory, keyFile)
	sealed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged := NewStore(s.directory)
		err := damaged.Unlock(phrase.value(t))
		if !errors.Is(err, ErrWrongPassphrase) && !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d of %d: %v", at, len(sealed), err)
		}
		if _, err := damaged.Get("openai"); err == nil {
			t.Fatalf("byte %d of %d: opened", at, len(sealed))
		}
	}
	if err := os.WriteFile(path, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlock(phrase.value(t)); err != nil {
		t.Fatal(err)
	}
	get(t, s, "openai", c)
}

// unlocking is the helper that asks, with a slot and from.
func unlocking(t *testing.T, s *Store, from *os.File) (slot *os.File, err error) {
	t.Helper()
	slot, err = NewKeySlot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slot.Close() })
	requestR, requestW := pipe(t)
	factsR, factsW := pipe(t)
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = []string{Stage}, []string{}
	cmd.ExtraFiles = []*os.File{requestR, none, factsW, slot, from}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	requestR.Close()
	factsW.Close()
	if err := (Request{Env: Env{Directory: s.directory}, Unlock: true}).Send(requestW); err != nil {
		t.Fatal(err)
	}
	requestW.Close()
	_, err = ReadFacts(factsR)
	if exit := cmd.Wait(); exit != nil {
		t.Errorf("helper: %v", exit)
	}
	return slot, err
}

func TestHelperUnlocksForTheHelpersAfterIt(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	r, w := pipe(t)
	w.Write(append(bytes.Clone(phrase), "\nwhat is not ours"...))
	w.Close()
	slot, err := unlocking(t, s, r)
	if err != nil {
		t.Fatal(err)
	}
	next := NewStore(s.directory)
	if err := next.borrow(slot); err != nil {
		t.Fatal(err)
	}
	get(t, next, "openai", c)
}

func TestHelperSaysWhyItDoesNotUnlock(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	for text, want := range map[string]error{
		"":                           ErrNoPassphrase,
		"\n" + string(phrase):        ErrNoPassphrase,
		string(newCanary(t)):         ErrWrongPassphrase,
		string(phrase) + " \n":       ErrWrongPassphrase,
		strings.Repeat("a", 1<<10+1): nil,
	} {
		r, w := pipe(t)
		w.WriteString(text)
		w.Close()
		slot, err := unlocking(t, s, r)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%.10q: %v", text, err)
			continue
		}
		phrase.absent(t, err.Error())
		if err := NewStore(s.directory).borrow(slot); !errors.Is(err, ErrDamaged) {
			t.Errorf("%.10q left a key: %v", text, err)
		}
	}
}

// echoes reports whether a terminal echoes.
func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

func TestPassphraseIsTypedHidden(t *testing.T) {
	c, phrase := newCanary(t), newCanary(t)
	s := newLocked(t, c, phrase)
	for keys, want := range map[string]error{
		string(phrase) + "\r": nil,
		"typo\x15" + string(phrase[:5]) + "x\x7f" + string(phrase[5:]) + "\r": nil,
		string(phrase[:9]) + "\x03": ErrInterrupted,
		"\x04":                      ErrNoPassphrase,
	} {
		screen, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan error, 1)
		go func() {
			_, err := unlocking(t, s, tty)
			asked <- err
		}()
		const prompt = "Passphrase of the phantom-ns store: "
		shown := make([]byte, len(prompt))
		for n := 0; n < len(prompt); { // the prompt is there when the terminal is quiet
			m, err := screen.Read(shown[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if string(shown) != prompt || echoes(t, tty) {
			t.Errorf("%q", shown)
		}
		screen.WriteString(keys)
		if err := <-asked; !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if !echoes(t, tty) {
			t.Error("the terminal was left quiet")
		}
		tty.Close()
		rest := make([]byte, 256)
		n, _ := screen.Read(rest)
		phrase.absent(t, string(rest[:n]))
		if got := strings.TrimSpace(string(rest[:n])); got != "" {
			t.Errorf("shown: %q", got)
		}
		screen.Close()
	}
}
