// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// ErrSupervisorGone is of a supervisor that ended without saying how the program
// did.
var ErrSupervisorGone = errors.New("the session's supervisor ended")

// Person is the side of the person at the terminal.
type Person struct {
	Stdin, Stdout, Stderr *os.File
	Tell                  func(line string) // what the supervisor says
	Signals               <-chan os.Signal  // passed on; nil: none
}

// Attend sends request and more with the streams, and attends the program until
// its end. It returns the program's exit status, or why there is none; what
// init or a leader refused is a *sandbox.StageError. It closes conn.
func (p Person) Attend(conn *net.UnixConn, request any, more ...*os.File) (status int, err error) {
	defer conn.Close()
	near, err := sandbox.OpenConsole(p.Stdin, p.Stdout, p.Stderr)
	if err != nil {
		return 0, err
	}
	defer near.Close()
	// Who is refused is told why, and not read.
	if err := greet(conn, near.Streams(), request, more); err != nil && !isGone(err) {
		return 0, errors.Join(err, near.End())
	}
	done := make(chan struct{})
	defer close(done)
	go p.pass(conn, done)
	status, err = p.follow(conn, near)
	return status, errors.Join(err, near.End())
}

func greet(conn *net.UnixConn, streams sandbox.Streams, request any, more []*os.File) error {
	defer streams.Close()
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	body, err := seal(hello{Request: text, Terminal: streams.Terminal})
	if err != nil {
		return err
	}
	defer body.Close()
	files := append([]*os.File{body, streams.Files[0], streams.Files[1], streams.Files[2]}, more...)
	return send(conn, message{Kind: kindHello}, files...)
}

// pass sends signals on.
func (p Person) pass(conn *net.UnixConn, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-p.Signals:
			if number, ok := s.(syscall.Signal); ok {
				// A supervisor that is gone is noticed elsewhere.
				_ = send(conn, message{Kind: kindSignal, Signal: int(number)})
			}
		}
	}
}

func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// hear reads one message. A peer that closed without reading all is an error
// once (unix(7), ECONNRESET), before what it had said.
func hear(conn *net.UnixConn) (message, []*os.File, error) {
	m, files, err := receive(conn, 1)
	if errors.Is(err, unix.ECONNRESET) {
		m, files, err = receive(conn, 1)
	}
	if isGone(err) {
		err = ErrSupervisorGone
	}
	return m, files, err
}

func (p Person) follow(conn *net.UnixConn, near *sandbox.Console) (int, error) {
	for {
		m, files, err := hear(conn)
		if err != nil {
			return 0, err
		}
		switch {
		case m.Kind == kindTerminal && len(files) == 1:
			err = near.Attach(files[0])
			files = nil
		case m.Kind == kindNotice:
			p.Tell(m.Text)
		case m.Kind == kindBegin:
			near.Begin()
		case m.Kind == kindStopped:
			near.Stopped(syscall.Signal(m.Signal))
			err = send(conn, message{Kind: kindSignal, Signal: int(unix.SIGCONT)})
		case m.Kind == kindEnded:
			err = near.End()
		case m.Kind == kindExit:
			return m.Status, nil
		case m.Kind == kindFailed:
			return 0, m.failure()
		default:
			err = fmt.Errorf("%w %q", errHostile, m.Kind)
		}
		closeAll(files)
		if err != nil {
			return 0, err
		}
	}
}

// failure is the error that was sent.
func (m message) failure() error {
	if m.Errno != 0 || m.Stage != 0 {
		return &sandbox.StageError{Stage: m.Stage, Errno: syscall.Errno(m.Errno), Text: m.Text}
	}
	return errors.New(m.Text)
}
