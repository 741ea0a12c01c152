// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// besideRequest is a program to run beside the agent, with the person's streams.
type besideRequest struct {
	Command []string
	Term    string // of the person's terminal; "": the agent's
}

// RunBeside runs command in the running session id with exactly what its agent
// has: user, cgroup, namespaces, filters, environment, working directory. It
// returns the exit status, as a shell would say it. The log says that it was us.
func RunBeside(id string, command []string, term string, person console.Person) (status int, err error) {
	near, far, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer far.Close()
	if err := Introduce(id, far, Visitor{PID: uint32(os.Getpid()), UID: uint32(os.Getuid())}); err != nil {
		near.Close()
		return 0, err
	}
	return person.Attend(near, besideRequest{Command: command, Term: term})
}

// Introduce hands the socket of somebody who has said what they want (package
// console) over to the running session id, which answers them from then on.
func Introduce(id string, person *os.File, who Visitor) error {
	_, err := askSession(id, errand{Do: doExec, Visitor: who}, person)
	return err
}

// Visitor is the process that runs a program beside the agent, for the log.
type Visitor struct {
	PID uint32 `json:"pid"`
	UID uint32 `json:"uid"`
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
func (s *Session) serveBeside(conn *net.UnixConn, who Visitor) {
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
	if err := s.visitors.enter(); err != nil {
		far.Streams.Close()
		far.Fail(err)
		return
	}
	defer s.visitors.leave()
	if err := s.recordVisit(who, request.Command[0]); err != nil {
		far.Streams.Close()
		far.Fail(err)
		return
	}
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

// recordVisit writes down who runs what, before it runs.
func (s *Session) recordVisit(who Visitor, program string) error {
	return s.trail.Record(audit.Record{
		Kind: audit.KindSession, Verdict: audit.Allow, Reason: audit.ReasonExec,
		PID: who.PID, UID: who.UID, Comm: filepath.Base(program),
	})
}

// visitors are the people with programs beside the agent. The end of the
// session waits until each has been told how theirs ended.
type visitors struct {
	mu     sync.Mutex
	closed bool
	count  int
	inside sync.WaitGroup
}

// visitorsLimit bounds programs at one time: each costs the supervisor some
// seven descriptors, of which it has 1,024 at least.
const visitorsLimit = 32

var errCrowded = errors.New("too many programs run beside the agent")

// enter refuses when the session ends, or is full.
func (v *visitors) enter() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return sandbox.ErrEnded
	case v.count == visitorsLimit:
		return errCrowded
	}
	v.count++
	v.inside.Add(1)
	return nil
}

func (v *visitors) leave() {
	v.mu.Lock()
	v.count--
	v.mu.Unlock()
	v.inside.Done()
}

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
