// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrInitEnded says that init gave up while the agent ran, which ended with it.
var ErrInitEnded = errors.New("init ended before the agent")

// Wait returns how the agent ended, when every process of the session is gone
// and all output is written, or how init did, when it was killed. A terminal is
// restored by then. It may be called more than once.
func (c *Child) Wait() (Status, error) {
	c.waiting.Do(func() { c.status, c.waitErr = c.wait() })
	return c.status, c.waitErr
}

func (c *Child) wait() (Status, error) {
	exit, reported := c.hear()
	<-c.process.done
	c.programs.abandon()
	err := errors.Join(c.process.err, c.attendant.End())
	if err != nil {
		err = fmt.Errorf("sandbox: wait for init: %w", err)
	}
	switch w := c.process.wait; {
	case reported:
		return Status{Code: exit.Code, Signal: syscall.Signal(exit.Signal)}, err
	case w.Signaled():
		return Status{Signal: w.Signal()}, err
	case c.running.Load():
		return Status{Code: w.ExitStatus()}, errors.Join(err, fmt.Errorf("sandbox: %w: %s", ErrInitEnded, describe(w)))
	default:
		return Status{Code: w.ExitStatus()}, err
	}
}

// hear reads what init says while the agent runs, until it is gone. Init has
// the agent's uid by now: anything but a stop or an exit ends it.
func (c *Child) hear() (exit exitedBody, reported bool) {
	for {
		p, err := c.receive()
		if err != nil {
			return exit, reported
		}
		p.close()
		var of programBody
		var s signalBody
		switch {
		case p.decode(&of) != nil:
			c.process.kill()
		case of.Program != 0:
			if !c.programs.tell(of.Program, p) {
				c.process.kill()
			}
		case p.kind == kindStopped && p.decode(&s) == nil:
			c.stopped(syscall.Signal(s.Signal))
		case p.kind == kindExited && p.decode(&exit) == nil && exit.valid():
			reported = true
		default:
			c.process.kill()
		}
	}
}

func (e exitedBody) valid() bool {
	return e.Code >= 0 && e.Code < 256 && e.Signal >= 0 && e.Signal <= 64
}

// stopped stops us as the agent was stopped, when it shares the user's
// terminal with us, and continues it when we are continued.
func (c *Child) stopped(s syscall.Signal) {
	if c.terminal != nil && isStop(s) && c.attendant.Stopped(s) {
		c.Signal(unix.SIGCONT)
	}
}

func isStop(s syscall.Signal) bool {
	return s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU || s == unix.SIGSTOP
}

// Signal sends s to the agent and its process group; SIGKILL ends the whole
// session. A session that has ended takes every signal.
func (c *Child) Signal(s syscall.Signal) error {
	var err error
	if s == unix.SIGKILL {
		err = c.process.kill()
	} else {
		err = c.send(kindSignal, signalBody{Signal: int(s)})
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sandbox: signal agent: %w", err)
	}
	return nil
}

// Close ends the session if it has not ended, waits for it, restores the
// terminal and releases everything. It may be called more than once.
func (c *Child) Close() error {
	c.closing.Do(func() {
		c.unwatch()
		err := c.process.kill()
		_, waitErr := c.Wait()
		if errors.Is(waitErr, ErrInitEnded) {
			waitErr = nil // of the agent, and Wait's to tell
		}
		c.closeErr = errors.Join(err, waitErr, c.release())
	})
	return c.closeErr
}

// release gives up descriptors, and init when it was started.
func (c *Child) release() error {
	var errs []error
	if c.process != nil {
		errs = append(errs, c.process.close())
	}
	if c.console != nil {
		errs = append(errs, c.console.Close())
	}
	if c.control != nil {
		errs = append(errs, c.control.Close())
	}
	return errors.Join(errs...)
}
