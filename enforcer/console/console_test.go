// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// conversation is both ends of a socket.
func conversation(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	end := func(fd int) *net.UnixConn {
		file := os.NewFile(uintptr(fd), "end")
		defer file.Close()
		conn, err := net.FileConn(file)
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn.(*net.UnixConn)
	}
	return end(pair[0]), end(pair[1])
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// A person's whole conversation, with what the supervisor says.
func TestConversation(t *testing.T) {
	near, conn := conversation(t)
	in, out, err := os.Pipe()
	must(t, err)
	_, err = out.WriteString("key")
	must(t, err)
	out.Close()
	supervised := make(chan error, 1)
	signals := make(chan os.Signal, 1)
	signals <- unix.SIGTERM
	go func() { supervised <- supervise(conn) }()
	var told []string
	p := Person{Stdin: in, Signals: signals, Tell: func(line string) { told = append(told, line) }}
	status, err := p.Attend(near, map[string]string{"a": "b"}, null(t))
	if status != 42 || err != nil || strings.Join(told, "|") != "hello|bye" {
		t.Errorf("ended with %d, %v, told %q", status, err, told)
	}
	must(t, <-supervised)
}

func supervise(conn *net.UnixConn) error {
	far, err := Accept(conn, 1)
	if err != nil {
		return err
	}
	defer far.Close()
	if string(far.Request) != `{"a":"b"}` || far.Streams.Terminal != nil || len(far.Files) != 1 {
		return errors.New("another request: " + string(far.Request))
	}
	far.Tell("hello")
	far.Begin()
	key, err := io.ReadAll(far.Streams.Files[0])
	if string(key) != "key" || err != nil {
		return errors.Join(errors.New("stdin is "+string(key)), err)
	}
	taken := make(chan syscall.Signal, 1)
	go far.Listen(func(s syscall.Signal) { taken <- s })
	if s := <-taken; s != unix.SIGTERM {
		return errors.New("took " + s.String())
	}
	must := far.End()
	far.Tell("bye")
	far.Exit(42)
	return errors.Join(must, far.Streams.Close())
}

// Who looks at a request leaves it, and everything that came with it, to whom
// the socket is handed.
func TestPeekLeavesTheRequest(t *testing.T) {
	near, conn := conversation(t)
	in, out, err := os.Pipe()
	must(t, err)
	_, err = out.WriteString("key")
	must(t, err)
	out.Close()
	supervised := make(chan error, 1)
	go func() {
		for range 2 {
			if text, err := Peek(conn); err != nil || string(text) != `{"a":"b"}` {
				supervised <- fmt.Errorf("saw %s, %w", text, err)
				return
			}
		}
		supervised <- supervise(conn)
	}()
	signals := make(chan os.Signal, 1)
	signals <- unix.SIGTERM
	p := Person{Stdin: in, Signals: signals, Tell: func(string) {}}
	if status, err := p.Attend(near, map[string]string{"a": "b"}, null(t)); status != 42 || err != nil {
		t.Errorf("ended with %d, %v", status, err)
	}
	must(t, <-supervised)
}

// What init refused is the same error on the other side.
func TestFailureIsTheSame(t *testing.T) {
	near, conn := conversation(t)
	go func() {
		if far, err := Accept(conn, 0); err == nil {
			far.Fail(&sandbox.StageError{Stage: sandbox.StageExec, Errno: unix.ENOENT, Text: "find \"x\""})
		}
	}()
	_, err := Person{}.Attend(near, nil)
	if !errors.Is(err, sandbox.ErrNotFound) || err.Error() != `exec: find "x"` {
		t.Errorf("got %v", err)
	}
}

// Who is refused unheard is told why.
func TestRefusedUnheard(t *testing.T) {
	near, conn := conversation(t)
	Refuse(conn, errors.New("not you"))
	must(t, conn.Close())
	if _, err := (Person{}).Attend(near, nil); err == nil || err.Error() != "not you" {
		t.Errorf("got %v", err)
	}
}

func TestSupervisorGone(t *testing.T) {
	near, conn := conversation(t)
	go func() {
		if far, err := Accept(conn, 0); err == nil {
			far.Close()
		}
	}()
	if _, err := (Person{}).Attend(near, nil); !errors.Is(err, ErrSupervisorGone) {
		t.Errorf("got %v", err)
	}
}

// sealed is a hello as a person sends it, with the terminal t.
func sealed(t *testing.T, terminal *sandbox.Terminal) *os.File {
	t.Helper()
	f, err := seal(hello{Request: json.RawMessage("1"), Terminal: terminal})
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// Whatever a hostile person sends, it is refused, and no descriptor stays.
func TestHostileHello(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	reading, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must(t, err)
	defer reading.Close()
	plain, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer plain.Close()
	_, err = plain.WriteString(`{"Request":1}`)
	must(t, err)
	open, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	unsealed := os.NewFile(uintptr(open), "unsealed")
	defer unsealed.Close()
	n := null(t)
	many := make([]*os.File, 64)
	for i := range many {
		many[i] = n
	}
	good := sealed(t, nil)
	for name, c := range map[string]struct {
		kind  string
		files []*os.File
	}{
		"another kind":          {kindSignal, []*os.File{good, n, n, n}},
		"no descriptor":         {kindHello, nil},
		"one too few":           {kindHello, []*os.File{good, n, n}},
		"one too many":          {kindHello, []*os.File{good, n, n, n, n}},
		"sixty-four":            {kindHello, many},
		"a FIFO for a request":  {kindHello, []*os.File{reading, n, n, n}},
		"a file for a request":  {kindHello, []*os.File{plain, n, n, n}},
		"a memfd that changes":  {kindHello, []*os.File{unsealed, n, n, n}},
		"a terminal at 3":       {kindHello, []*os.File{sealed(t, &sandbox.Terminal{FDs: []int{3}}), n, n, n}},
		"a terminal at -1":      {kindHello, []*os.File{sealed(t, &sandbox.Terminal{FDs: []int{-1}}), n, n, n}},
		"a terminal nowhere":    {kindHello, []*os.File{sealed(t, &sandbox.Terminal{}), n, n, n}},
		"a terminal twice":      {kindHello, []*os.File{sealed(t, &sandbox.Terminal{FDs: []int{1, 1}}), n, n, n}},
		"a terminal backwards":  {kindHello, []*os.File{sealed(t, &sandbox.Terminal{FDs: []int{2, 0}}), n, n, n}},
		"a terminal everywhere": {kindHello, []*os.File{sealed(t, &sandbox.Terminal{FDs: []int{0, 1, 2, 2}}), n, n, n}},
	} {
		t.Run(name, func(t *testing.T) {
			near, conn := conversation(t)
			before := descriptors(t)
			must(t, send(near, message{Kind: c.kind}, c.files...))
			_, _ = Peek(conn) // it may look well from outside
			if _, err := Accept(conn, 0); err == nil {
				t.Error("it was accepted")
			}
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors were open and %d are", before, now)
			}
		})
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// A person who says what cannot be is gone, with what they sent.
func TestHostilePerson(t *testing.T) {
	n := null(t)
	for name, speak := range map[string]func(near *net.UnixConn) error{
		"a signal that is not theirs": func(near *net.UnixConn) error { return send(near, message{Kind: kindSignal, Signal: 9}) },
		"no signal":                   func(near *net.UnixConn) error { return send(near, message{Kind: kindExit}) },
		"with a descriptor":           func(near *net.UnixConn) error { return send(near, message{Kind: kindSignal, Signal: 15}, n) },
		"no JSON":                     func(near *net.UnixConn) error { _, err := near.Write([]byte("{")); return err },
		"too long": func(near *net.UnixConn) error {
			_, err := near.Write([]byte(`{"Kind":"signal","Signal":15}` + strings.Repeat(" ", packetLimit)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, conn := conversation(t)
			must(t, speak(near))
			(&Far{conn: conn}).Listen(func(s syscall.Signal) { t.Errorf("took %v", s) })
			if _, err := near.Read(make([]byte, 1)); err == nil {
				t.Error("the socket is open")
			}
		})
	}
}
