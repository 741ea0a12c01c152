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
	process  *process
	control  *os.File
	stdio    *stdio
	terminal *terminalRelay
	warnings []string
	unwatch  func() bool // stops watching the context
	running  atomic.Bool // init has executed the agent

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
	if c.stdio, err = openStdio(cfg.Stdin, cfg.Stdout, cfg.Stderr); err != nil {
		return nil, err
	}
	spec, err := newSpec(cfg, c.stdio.terminal)
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
	donated := c.stdio.donated
	c.process, err = startProcess(cfg, [4]int{donated[0], donated[1], donated[2], pair[1]})
	if err != nil {
		return nil, err
	}
	c.stdio.donate()
	if err := c.send(kindSpec, struct{}{}, spec); err != nil {
		return nil, fmt.Errorf("send spec: %w", err)
	}
	return c, nil
}

// newSpec is the bulk of kindSpec.
func newSpec(cfg Config, tty *terminalSpec) (int, error) {
	body := specBody{Spec: cfg.Spec, Terminal: tty}
	var st unix.Stat_t
	if err := unix.Fstat(cfg.Namespace.FD(), &st); err != nil {
		return -1, fmt.Errorf("read namespace: %w", err)
	}
	body.Net = st.Ino
	var err error
	if body.Outside, err = namespaces("/proc/self/ns"); err != nil {
		return -1, err
	}
	return newBulk(body)
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
	c.stdio.start()
	return c.follow()
}

// follow reads init's messages until the agent runs.
func (c *Child) follow() error {
	for {
		p, err := c.receive()
		if err != nil {
			return c.lost(StageMount, err)
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

// openTerminal begins to relay the session's terminal, whose master is in p.
func (c *Child) openTerminal(p packet) error {
	if len(p.fds) != 1 || c.stdio.terminal == nil || c.terminal != nil {
		return c.unexpected(p)
	}
	master := os.NewFile(uintptr(p.fds[0]), "terminal")
	first := c.stdio.terminal.FDs[0]
	relay, err := openTerminalRelay(c.stdio.files[first], master, first == 0)
	if err != nil {
		return stageError(StageSession, errors.Join(err, master.Close()))
	}
	c.terminal = relay
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
	return &StageError{Stage: f.Stage, Errno: syscall.Errno(f.Errno), Text: f.Text}
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
	return errors.Join(err, inner)
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
