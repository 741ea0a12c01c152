// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// besideRequest is a program to run beside the agent, with the person's streams.
type besideRequest struct {
	Command []string
	Term    string // of the person's terminal; "": the agent's
}

// RunBeside runs command in the running session id with exactly what its agent
// has: user, cgroup, namespaces, filters, environment, working directory. It
// returns the exit status, as a shell would say it.
func RunBeside(id string, command []string, term string, person console.Person) (status int, err error) {
	near, far, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer far.Close()
	if _, err := askSession(id, errand{Do: doExec}, far); err != nil {
		near.Close()
		return 0, err
	}
	return person.Attend(near, besideRequest{Command: command, Term: term})
}

// socketPair makes the two ends of a conversation with a person.
func socketPair() (near *net.UnixConn, far *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "near")
	defer ours.Close()
	far = os.NewFile(uintptr(pair[1]), "far")
	near, err = asConversation(ours)
	if err != nil {
		far.Close()
	}
	return near, far, err
}

var errNoConversation = errors.New("not a socket for a conversation")

// asConversation duplicates file, which must be a SOCK_SEQPACKET unix socket.
func asConversation(file *os.File) (*net.UnixConn, error) {
	fd, err := Descriptor(file)
	if err != nil {
		return nil, err
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, errNoConversation
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoConversation, err)
	}
	person, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errNoConversation
	}
	return person, nil
}

// serveBeside runs one program for the person at the other end of conn. The
// session ends it with itself.
func (s *Session) serveBeside(conn *net.UnixConn) {
	defer conn.Close()
	far, err := console.Accept(conn, 0)
	if err != nil {
		return
	}
	defer far.Close()
	var request besideRequest
	if err := json.Unmarshal(far.Request, &request); err != nil || len(request.Command) == 0 {
		far.Streams.Close()
		far.Fail(errors.Join(errBadRequest, err))
		return
	}
	if !s.visitors.enter() {
		far.Streams.Close()
		far.Fail(sandbox.ErrEnded)
		return
	}
	defer s.visitors.leave()
	gone, left := context.WithCancel(context.Background())
	defer left()
	program := make(chan *sandbox.Program, 1)
	go func() {
		defer left() // ends the program
		passSignals(far, program, left)
	}()
	status, err := s.runBeside(gone, request, far, program)
	if err != nil {
		far.Fail(err)
		return
	}
	far.Exit(status)
}

// visitors are the people with programs beside the agent. The end of the
// session waits until each has been told how theirs ended.
type visitors struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter is false when the session ends.
func (v *visitors) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.inside.Add(1)
	}
	return !v.closed
}

func (v *visitors) leave() { v.inside.Done() }

// Close waits for all, whose programs have ended.
func (v *visitors) Close() error {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.inside.Wait()
	return nil
}

var errBadRequest = errors.New("no request for a program")

// passSignals hands what the person sends to the program. One that has not
// begun is called off.
func passSignals(far *console.Far, program <-chan *sandbox.Program, callOff func()) {
	var running *sandbox.Program
	far.Listen(func(sig syscall.Signal) {
		if running == nil {
			select {
			case running = <-program:
			default:
			}
		}
		switch {
		case running != nil:
			_ = running.Signal(sig) // it may have ended
		case sig != unix.SIGCONT && sig != unix.SIGWINCH:
			callOff()
		}
	})
}

func (s *Session) runBeside(ctx context.Context, request besideRequest, far *console.Far, started chan<- *sandbox.Program) (int, error) {
	env := s.environ
	if request.Term != "" && far.Streams.Terminal != nil {
		env = append(slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "TERM=") }), "TERM="+request.Term)
	}
	program, err := s.child.Run(ctx, sandbox.ProgramConfig{Argv: request.Command, Env: env, Streams: far.Streams, Attendant: far})
	if err != nil {
		return 0, err
	}
	started <- program
	status, err := program.Wait()
	if status.Signal != 0 {
		return 128 + int(status.Signal), err
	}
	return status.Code, err
}
