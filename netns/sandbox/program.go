// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrEnded is returned for a session whose agent has ended.
var ErrEnded = errors.New("the session has ended")

// ProgramConfig is a program to run beside the agent.
type ProgramConfig struct {
	Argv      []string // the first is searched in PATH of Env
	Env       []string // the whole environment
	Streams   Streams  // taken over, whatever comes of it
	Attendant Attendant
}

// Program is one beside the agent, with its rights and in its namespaces: init
// forks it, which has given everything up. It ends with the session.
type Program struct {
	child     *Child
	number    int
	attendant Attendant
	heard     chan packet // closed at the session's end
	done      chan struct{}
	unwatch   func() bool // stops watching the context
	status    Status      // valid after done
	err       error
}

// programs are those that init may speak of, by number.
type programs struct {
	mu    sync.Mutex
	last  int
	all   map[int]*Program
	ended bool
}

// heardLimit is how many messages of a program may wait for an attendant that
// is slow: it is asked for each stop, and a program makes those itself.
const heardLimit = 64

func (p *programs) add(program *Program) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return ErrEnded
	}
	if p.all == nil {
		p.all = make(map[int]*Program)
	}
	p.last++
	program.number = p.last
	p.all[p.last] = program
	return nil
}

func (p *programs) remove(number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, number)
}

// tell hands a message on. It is false for one about no program that runs, and
// when too many wait.
func (p *programs) tell(number int, message packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	program, known := p.all[number]
	if !known || p.ended {
		return false
	}
	select {
	case program.heard <- message:
		return true
	default:
		return false
	}
}

// abandon tells all programs that the session is gone.
func (p *programs) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, program := range p.all {
		close(program.heard)
	}
}

// Run starts a program beside the agent. It returns when the program has been
// executed, or why it was not: a *StageError, or ErrEnded. The end of ctx kills
// it. Somebody must be in Wait.
//
// Preconditions: Launch has returned without an error.
func (c *Child) Run(ctx context.Context, cfg ProgramConfig) (*Program, error) {
	p := &Program{child: c, attendant: cfg.Attendant, heard: make(chan packet, heardLimit), done: make(chan struct{})}
	if err := c.programs.add(p); err != nil {
		return nil, errors.Join(err, cfg.Streams.Close())
	}
	if err := p.start(ctx, cfg); err != nil {
		c.programs.remove(p.number)
		return nil, errors.Join(fmt.Errorf("sandbox: %w", err), p.attendant.End())
	}
	go p.follow()
	return p, nil
}

// start sends the program to init and waits for what comes of it.
func (p *Program) start(ctx context.Context, cfg ProgramConfig) (err error) {
	if err := p.send(cfg); err != nil {
		return err
	}
	// Behind the program in the socket: init signals nothing that it does not know.
	p.unwatch = context.AfterFunc(ctx, func() { p.Signal(unix.SIGKILL) })
	defer func() {
		if err != nil {
			p.unwatch()
		}
	}()
	p.attendant.Begin()
	message, open := <-p.heard
	if !open {
		return ErrEnded
	}
	var f failedBody
	switch {
	case message.kind == kindExecuted:
		return nil
	case message.kind == kindFailed && message.decode(&f) == nil:
		return f.error()
	}
	p.child.process.kill()
	return stageError(StageExec, fmt.Errorf("unexpected message %d: %w", message.kind, unix.EBADMSG))
}

func (p *Program) send(cfg ProgramConfig) error {
	streams, terminal := cfg.Streams, -1
	defer func() { streams.Close() }()
	if streams.Terminal != nil {
		var err error
		if terminal, err = p.openTerminal(&streams); err != nil {
			return stageError(StageSession, fmt.Errorf("open terminal: %w", err))
		}
	}
	bulk, err := newBulk(programSpec{
		Argv: cfg.Argv, Env: cfg.Env, Terminal: terminal,
		User: p.child.body.Spec.User, Outside: p.child.body.Outside, Net: p.child.body.Net,
	})
	if err != nil {
		return stageError(StageStart, err)
	}
	defer unix.Close(bulk)
	err = streams.with(func(fds [3]int) error {
		return p.child.send(kindProgram, startBody{programBody{p.number}, terminal}, bulk, fds[0], fds[1], fds[2])
	})
	if err != nil {
		return ErrEnded
	}
	return nil
}

// openTerminal makes a terminal in the session's devpts, puts it among the
// streams and hands the master to the attendant. It returns one of the
// descriptors that are it.
func (p *Program) openTerminal(s *Streams) (int, error) {
	pts, err := p.child.process.devpts()
	if err != nil {
		return -1, err
	}
	defer unix.Close(pts)
	master, slave, err := openPTY(pts, "ptmx", *s.Terminal, p.child.body.Spec.User.UID)
	if err != nil {
		return -1, err
	}
	defer unix.Close(slave)
	for _, n := range s.Terminal.FDs {
		fd, err := duplicate(slave)
		if err != nil {
			return -1, errors.Join(err, unix.Close(master))
		}
		s.Files[n].Close()
		s.Files[n] = os.NewFile(uintptr(fd), "terminal")
	}
	return s.Terminal.FDs[0], p.attendant.Attach(os.NewFile(uintptr(master), "terminal"))
}

// devpts opens the session's own, by the root folder that init has. The agent
// may mount nothing there; all the same no link is followed, and what is opened
// has to be a devpts that is not the host's.
func (p *process) devpts() (fd int, err error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", p.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open init's root: %w", err)
	}
	defer unix.Close(root)
	// It was init's, if init lives now: a process id is free when it is gone.
	if err := p.alive(); err != nil {
		return -1, err
	}
	fd, err = unix.Openat2(root, "dev/pts", &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return -1, fmt.Errorf("open init's devpts: %w", err)
	}
	if err := checkDevpts(fd); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func checkDevpts(fd int) error {
	var fs unix.Statfs_t
	var own, host unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &own)); err != nil {
		return fmt.Errorf("read init's devpts: %w", err)
	}
	if err := unix.Stat("/dev/pts", &host); err == nil && host.Dev == own.Dev {
		return fmt.Errorf("init's devpts is the host's: %w", unix.EPERM)
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return fmt.Errorf("init's devpts is of type %#x: %w", fs.Type, unix.EPERM)
	}
	return nil
}

// alive is an error when init is gone.
func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 || unix.PidfdSendSignal(p.pidfd, 0, nil, 0) != nil {
		return ErrEnded
	}
	return nil
}

// follow hands on what init says of the program until it has ended.
func (p *Program) follow() {
	defer close(p.done)
	defer p.unwatch()
	defer p.child.programs.remove(p.number)
	for message := range p.heard {
		var s signalBody
		var exit exitedBody
		switch {
		case message.kind == kindStopped && message.decode(&s) == nil:
			if isStop(syscall.Signal(s.Signal)) && p.attendant.Stopped(syscall.Signal(s.Signal)) {
				p.Signal(unix.SIGCONT)
			}
		case message.kind == kindExited && message.decode(&exit) == nil && exit.valid():
			p.status, p.err = Status{Code: exit.Code, Signal: syscall.Signal(exit.Signal)}, p.attendant.End()
			return
		default:
			p.child.process.kill() // hostile
		}
	}
	// The session has ended, and the kernel killed the program.
	p.status, p.err = Status{Signal: unix.SIGKILL}, p.attendant.End()
}

// Wait returns how the program ended, when what it wrote is written. It may be
// called more than once.
func (p *Program) Wait() (Status, error) {
	<-p.done
	return p.status, p.err
}

// Signal sends s to the program and its process group. One that has ended takes
// every signal.
func (p *Program) Signal(s syscall.Signal) error {
	err := p.child.send(kindSignal, signalBody{programBody{p.number}, int(s)})
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
