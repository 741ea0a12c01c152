// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxPassphrase is how long a passphrase may be, in bytes.
const maxPassphrase = 1024

// phraseTimeout is how long a program may take to write a passphrase. A person
// has all the time there is.
const phraseTimeout = time.Minute

// The refusals of [AskPassphrase].
var (
	ErrInterrupted  = errors.New("interrupted")
	ErrNoPassphrase = errors.New("no passphrase was given")
)

// AskPassphrase reads one line. From a terminal it is read without an echo,
// after prompt; Ctrl-C there is ErrInterrupted and no signal, so that the
// terminal is put back. The line end is no part of the passphrase. An empty one
// is ErrNoPassphrase.
func AskPassphrase(from *os.File, prompt string) (Value, error) {
	phrase, err := askLine(from, from, prompt, maxPassphrase)
	if err != nil {
		return Value{}, fmt.Errorf("read passphrase: %w", err)
	}
	return phrase, nil
}

// AskCredential is AskPassphrase for a credential, which is checked; the prompt
// is written to to.
func AskCredential(from *os.File, to io.Writer, prompt string) (Value, error) {
	v, err := askLine(from, to, prompt, MaxLength)
	if err == nil {
		err = Check(v)
	}
	if err != nil {
		v.Wipe()
		return Value{}, fmt.Errorf("read credential: %w", err)
	}
	return v, nil
}

// askLine has the echo off before it asks: a paste or a program may be as quick
// as the prompt.
func askLine(from *os.File, to io.Writer, prompt string, limit int) (Value, error) {
	raw, err := from.SyscallConn()
	if err != nil {
		return Value{}, err
	}
	var was *unix.Termios
	if err := raw.Control(func(fd uintptr) { was, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); err != nil {
		return Value{}, err
	}
	if err != nil { // no terminal
		// Ignored where the file takes no deadline: it has an end then.
		_ = from.SetReadDeadline(time.Now().Add(phraseTimeout))
		return readLine(from, limit)
	}
	quiet := *was
	quiet.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	quiet.Cc[unix.VMIN], quiet.Cc[unix.VTIME] = 1, 0
	fd := int(from.Fd())
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &quiet); err != nil {
		return Value{}, err
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETSF, was)
	defer fmt.Fprint(to, "\r\n")
	fmt.Fprint(to, prompt)
	return readLine(typed{from}, limit)
}

// readLine reads to a line end, or the end, byte by byte: what follows is not
// ours.
func readLine(r io.Reader, limit int) (Value, error) {
	line := make([]byte, limit+1)
	defer clear(line)
	for n := 0; ; {
		_, err := io.ReadFull(r, line[n:n+1])
		switch {
		case err != nil && err != io.EOF:
			return Value{}, err
		case err == io.EOF || line[n] == '\n':
			text := bytes.TrimSuffix(line[:n], []byte("\r"))
			if len(text) == 0 {
				return Value{}, ErrNoPassphrase
			}
			return New(text)
		case line[n] == erase && n > 0:
			n--
		case line[n] == eraseAll:
			n = 0
		case line[n] == erase:
		default:
			if n++; n == len(line) {
				return Value{}, ErrLong
			}
		}
	}
}

// What a terminal's reader makes of editing keys.
const (
	erase    = 0x08
	eraseAll = 0x15 // Ctrl-U
)

// typed reads keys: Ctrl-C ends, Ctrl-D is the end.
type typed struct{ from *os.File }

func (k typed) Read(p []byte) (int, error) {
	n, err := k.from.Read(p[:1])
	if n == 0 || err != nil {
		return n, err
	}
	switch p[0] {
	case 0x03:
		return 0, ErrInterrupted
	case 0x04:
		return 0, io.EOF
	case 0x7f:
		p[0] = erase
	}
	return n, nil
}

// The descriptors of the helper that asks for a passphrase, beside RequestFD
// and FactsFD.
const (
	SlotFD   = 6 // memory, see NewKeySlot
	PhraseFD = 7 // a terminal, or what has the passphrase in its first line
)

// servePassphrase asks for the passphrase of the store and leaves the key in
// the slot. What it came to is said as facts.
func servePassphrase(q Request, facts *os.File) error {
	store := NewStore(q.Env.Directory)
	phrase, err := AskPassphrase(os.NewFile(PhraseFD, "passphrase"), "Passphrase of the phantom-ns store: ")
	defer phrase.Wipe()
	if err == nil {
		err = store.Unlock(phrase)
	}
	if err == nil {
		err = store.lend(os.NewFile(SlotFD, "key slot"))
	}
	return tellFacts(facts, Entry{}, err)
}

// open is the store that a request is about.
func (e Env) open() (*Store, error) {
	s := NewStore(e.Directory)
	if e.KeyFD == 0 {
		return s, nil
	}
	return s, s.borrow(os.NewFile(uintptr(e.KeyFD), "key slot"))
}
