// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Child is init and the agent as the supervisor sees them. Its methods may be
// called from several goroutines, but Listeners and Launch each once and in
// this order.
type Child struct {
	process   *process
	control   *os.File
	attendant Attendant
	console   *Console  // the attendant, where it is ours
	terminal  *Terminal // nil: none of the agent's streams is one
	attached  bool      // the attendant has the terminal's master
	body      specBody  // as init has it
	warnings  []string
	unwatch   func() bool // stops watching the context
	running   atomic.Bool // init has executed the agent
	programs  programs    // those beside the agent

	waiting, closing  sync.Once
	status            Status
	waitErr, closeErr error
}

// Start makes init, which begins to open the session's sockets. Ending ctx
// kills it. The caller owns the files of cfg and calls Close in the end.
//
// Preconditions: root, with all capabilities, in the host's namespaces; cgo is
// off. While the Child lives, a thread of this process has fewer rights than the
// others, so that no call may set ids or capabilities of all threads.
func Start(ctx context.Context, cfg Config) (*Child, error) {
	c, err := start(cfg)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", stageError(StageStart, err))
	}
	c.unwatch = context.AfterFunc(ctx, func() { c.process.kill() })
	return c, nil
}

func start(cfg Config) (_ *Child, err error) {
	if err := cfg.Spec.check(); err != nil {
		return nil, err
	}
	c := &Child{}
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	streams, err := c.attend(cfg)
	if err != nil {
		return nil, err
	}
	defer streams.Close()
	if c.body, err = newSpec(cfg, c.terminal); err != nil {
		return nil, err
	}
	spec, err := newBulk(c.body)
	if err != nil {
		return nil, err
	}
	defer unix.Close(spec)
	var pair [2]int
	if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(pair[0]))
	}
	c.control = os.NewFile(uintptr(pair[0]), "control")
	err = streams.with(func(fds [3]int) error {
		c.process, err = startProcess(cfg, [4]int{fds[0], fds[1], fds[2], pair[1]})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := c.send(kindSpec, struct{}{}, spec); err != nil {
		return nil, fmt.Errorf("send spec: %w", err)
	}
	return c, nil
}

// attend finds who holds the agent's streams, and opens them where that is us.
func (c *Child) attend(cfg Config) (Streams, error) {
	if cfg.Streams != nil {
		c.attendant, c.terminal = cfg.Attendant, cfg.Streams.Terminal
		return *cfg.Streams, nil
	}
	console, err := OpenConsole(cfg.Stdin, cfg.Stdout, cfg.Stderr)
	if err != nil {
		return Streams{}, err
	}
	c.attendant, c.console = console, console
	streams := console.Streams()
	c.terminal = streams.Terminal
	return streams, nil
}

// newSpec is the bulk of kindSpec.
func newSpec(cfg Config, tty *Terminal) (specBody, error) {
	body := specBody{Spec: cfg.Spec, Terminal: tty}
	var st unix.Stat_t
	err := unix.Fstat(cfg.Namespace.FD(), &st)
	if err != nil {
		return body, fmt.Errorf("read namespace: %w", err)
	}
	body.Net = st.Ino
	body.Outside, err = namespaces("/proc/self/ns")
	return body, err
}

// PID is init's process id on the host.
func (c *Child) PID() int { return c.process.pid }

// Warnings says, after Launch, what the agent does without: one line each.
func (c *Child) Warnings() []string { return c.warnings }

// Launch lets init build the agent's surroundings and start it. It returns when
// the agent has been executed, or a *StageError: then it never was, init is
// gone and a terminal restored.
func (c *Child) Launch(l Launch) error {
	err := c.launch(l)
	if err == nil {
		return nil
	}
	c.process.kill()
	_, waitErr := c.Wait()
	return errors.Join(fmt.Errorf("sandbox: %w", err), waitErr)
}

func (c *Child) launch(l Launch) error {
	sockets, err := hostSockets()
	if err != nil {
		return stageError(StageWait, err)
	}
	body := launchBody{Argv: l.Argv, Path: l.Path, Env: l.Env, Sockets: sockets, Covers: l.Covers, Given: l.Given}
	bulk, err := newBulk(body, l.CA, l.SystemRoots, l.Hosts, l.ResolvConf, l.Nsswitch)
	if err != nil {
		return stageError(StageWait, err)
	}
	defer unix.Close(bulk)
	if err := c.send(kindLaunch, struct{}{}, bulk); err != nil {
		return c.lost(StageWait, fmt.Errorf("send launch: %w", err))
	}
	c.attendant.Begin()
	return c.follow()
}

// follow reads init's messages until the agent runs.
func (c *Child) follow() error {
	for {
		p, err := c.receive()
		if err != nil {
			return c.lost(StageCover, err)
		}
		switch p.kind {
		case kindWarning:
			var w warningBody
			err = p.decode(&w)
			c.warnings = append(c.warnings, cut(w.Text))
		case kindTerminal:
			err = c.openTerminal(p)
		case kindRunning:
			c.running.Store(true)
			return nil
		default:
			err = c.unexpected(p)
		}
		if err != nil {
			return err
		}
	}
}

// openTerminal hands the session's terminal, whose master is in p, to who
// attends the agent.
func (c *Child) openTerminal(p packet) error {
	if len(p.fds) != 1 || c.terminal == nil || c.attached {
		return c.unexpected(p)
	}
	c.attached = true
	if err := c.attendant.Attach(os.NewFile(uintptr(p.fds[0]), "terminal")); err != nil {
		return stageError(StageSession, err)
	}
	return nil
}

// unexpected makes an error of a message that ends the launch.
func (c *Child) unexpected(p packet) error {
	p.close()
	var f failedBody
	if p.kind != kindFailed {
		return &StageError{Text: fmt.Sprintf("unexpected message %d", p.kind)}
	}
	if err := p.decode(&f); err != nil {
		return &StageError{Text: err.Error()}
	}
	return f.error()
}

// lost makes an error of a socket that ended: init was killed, or its message
// is still to be read.
func (c *Child) lost(stage Stage, err error) error {
	c.process.kill()
	<-c.process.done
	for {
		p, next := c.receive()
		if next != nil {
			break
		}
		if p.kind == kindFailed {
			return c.unexpected(p)
		}
		p.close()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		err = fmt.Errorf("init ended: %s", describe(c.process.wait))
	}
	return stageError(stage, err)
}

func describe(w syscall.WaitStatus) string {
	if w.Signaled() {
		return w.Signal().String()
	}
	return fmt.Sprintf("status %d", w.ExitStatus())
}

// send writes one message to init.
func (c *Child) send(k kind, body any, fds ...int) error {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Write(func(fd uintptr) bool {
		inner = send(int(fd), k, body, fds...)
		return !errors.Is(inner, unix.EAGAIN)
	})
	if err != nil { // of the file, not of the call: it was closed meanwhile
		return fmt.Errorf("%w: %w", os.ErrClosed, err)
	}
	return inner
}

// receive reads one message of init's.
func (c *Child) receive() (p packet, err error) {
	raw, err := c.control.SyscallConn()
	if err != nil {
		return packet{}, err
	}
	var inner error
	err = raw.Read(func(fd uintptr) bool {
		p, inner = receive(int(fd))
		return !errors.Is(inner, unix.EAGAIN)
	})
	if err != nil {
		return packet{}, err
	}
	return p, inner
}
