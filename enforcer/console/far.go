// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// helloDeadline bounds the wait for the first message.
const helloDeadline = 10 * time.Second

// Far is the person, as the supervisor sees them. It is the
// [sandbox.Attendant] of the streams that came with them.
type Far struct {
	Streams sandbox.Streams // whoever starts the program takes them over
	Request json.RawMessage
	Files   []*os.File // what came with the streams

	conn *net.UnixConn
	ends sync.Once
}

// Accept reads the first message of a person's, with as many more files. What
// it says of the person is theirs to say.
func Accept(conn *net.UnixConn, more int) (*Far, error) {
	conn.SetReadDeadline(time.Now().Add(helloDeadline))
	m, files, err := receive(conn, 4+more)
	if err == nil && (m.Kind != kindHello || len(files) != 4+more) {
		closeAll(files)
		err = fmt.Errorf("%w %q with %d descriptors", errHostile, m.Kind, len(files))
	}
	if err != nil {
		return nil, err
	}
	h, err := unseal(files[0])
	files[0].Close()
	if err == nil {
		err = check(h.Terminal)
	}
	if err != nil {
		closeAll(files[1:])
		return nil, err
	}
	conn.SetReadDeadline(time.Time{})
	return &Far{
		Streams: sandbox.Streams{Files: [3]*os.File(files[1:4]), Terminal: h.Terminal},
		Request: h.Request, Files: files[4:], conn: conn,
	}, nil
}

// Peek returns the request in the first message of a person's and leaves the
// message where it is: whoever is given the socket reads it.
func Peek(conn *net.UnixConn) (json.RawMessage, error) {
	conn.SetReadDeadline(time.Now().Add(helloDeadline))
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("look at request: %w", err)
	}
	control := make([]byte, unix.CmsgSpace(4*fdLimit))
	var n int
	var inner error
	err = raw.Read(func(fd uintptr) bool {
		_, n, _, _, inner = unix.Recvmsg(int(fd), nil, control, unix.MSG_PEEK|unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !errors.Is(inner, unix.EAGAIN)
	})
	if err := errors.Join(err, inner); err != nil {
		return nil, fmt.Errorf("look at request: %w", err)
	}
	files, err := rights(control[:n])
	defer closeAll(files)
	if err == nil && len(files) == 0 {
		err = errHostile
	}
	if err != nil {
		return nil, fmt.Errorf("look at request: %w", err)
	}
	h, err := unseal(files[0])
	return h.Request, err
}

// check refuses a terminal in no place, or twice in one.
func check(t *sandbox.Terminal) error {
	if t == nil {
		return nil
	}
	if len(t.FDs) == 0 || len(t.FDs) > 3 || !slices.IsSorted(t.FDs) || t.FDs[0] < 0 || t.FDs[len(t.FDs)-1] > 2 || len(slices.Compact(slices.Clone(t.FDs))) != len(t.FDs) {
		return fmt.Errorf("%w: a terminal at %v", errHostile, t.FDs)
	}
	return nil
}

// Close gives up what came and was not taken over, and the person.
func (f *Far) Close() error {
	closeAll(f.Files)
	return f.conn.Close()
}

// Tell shows the person a line.
func (f *Far) Tell(line string) { f.send(message{Kind: kindNotice, Text: line}) }

// Begin implements [sandbox.Attendant].
func (f *Far) Begin() { f.send(message{Kind: kindBegin}) }

// Attach implements [sandbox.Attendant].
func (f *Far) Attach(master *os.File) error {
	defer master.Close()
	return send(f.conn, message{Kind: kindTerminal}, master)
}

// Stopped implements [sandbox.Attendant]. The person's process continues the
// program when it is continued itself.
func (f *Far) Stopped(s syscall.Signal) bool {
	f.send(message{Kind: kindStopped, Signal: int(s)})
	return false
}

// End implements [sandbox.Attendant].
func (f *Far) End() error {
	f.ends.Do(func() { f.send(message{Kind: kindEnded}) })
	return nil
}

// Exit tells the person how the program ended. It is the last message.
func (f *Far) Exit(status int) { f.send(message{Kind: kindExit, Status: status}) }

// Refuse tells somebody who is not heard why.
func Refuse(conn *net.UnixConn, err error) {
	// Who does not wait for it does not want to know.
	_ = send(conn, message{Kind: kindFailed, Text: err.Error()})
}

// Fail tells the person why there is no program. It is the last message.
func (f *Far) Fail(err error) {
	m := message{Kind: kindFailed, Text: err.Error()}
	var stage *sandbox.StageError
	if errors.As(err, &stage) {
		m.Stage, m.Errno, m.Text = stage.Stage, int(stage.Errno), stage.Text
	}
	f.send(m)
}

// send tells a person who reads. One who does not is gone for us.
func (f *Far) send(m message) {
	if err := send(f.conn, m); err != nil {
		f.conn.Close()
	}
}

// passed are the signals that a person may send.
var passed = []syscall.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH,
}

// Listen hands each signal of the person's to take, until they are gone.
func (f *Far) Listen(take func(syscall.Signal)) {
	for {
		m, files, err := receive(f.conn, 0)
		closeAll(files)
		if err != nil || m.Kind != kindSignal || !slices.Contains(passed, syscall.Signal(m.Signal)) {
			f.conn.Close()
			return
		}
		take(syscall.Signal(m.Signal))
	}
}
