// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Screen is a terminal that a test sits at.
type Screen struct {
	Near *os.File // what a program is started on: see [Session.Terminal]

	t    testing.TB
	far  *os.File
	text *bufio.Reader
}

// NewScreen opens a terminal of 33 by 77, for one minute.
func NewScreen(t testing.TB) *Screen {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatalf("rig: open terminal: %v", err)
	}
	t.Cleanup(func() { near.Close() })
	// What pty.Open gives has no deadlines.
	fd, err := unix.FcntlInt(far.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	far.Close()
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatalf("rig: open terminal: %v", err)
	}
	s := &Screen{Near: near, t: t, far: os.NewFile(uintptr(fd), "far")}
	t.Cleanup(func() { s.far.Close() })
	s.text = bufio.NewReader(s.far)
	s.must(s.far.SetReadDeadline(time.Now().Add(time.Minute * Pace())))
	s.Resize(33, 77)
	return s
}

func (s *Screen) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("rig: terminal: %v", err)
	}
}

// Resize gives it another size.
func (s *Screen) Resize(rows, columns uint16) {
	s.t.Helper()
	s.must(unix.IoctlSetWinsize(int(s.Near.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
}

// Key types.
func (s *Screen) Key(keys string) {
	s.t.Helper()
	_, err := s.far.WriteString(keys)
	s.must(err)
}

// Until returns what is shown up to and with mark.
func (s *Screen) Until(mark string) string {
	s.t.Helper()
	var seen strings.Builder
	for !strings.HasSuffix(seen.String(), mark) {
		b, err := s.text.ReadByte()
		if err != nil {
			s.t.Fatalf("rig: terminal: waiting for %q, after %q: %v", mark, seen.String(), err)
		}
		seen.WriteByte(b)
	}
	return seen.String()
}
