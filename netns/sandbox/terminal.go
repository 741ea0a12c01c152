// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminalRelay carries bytes between the user's terminal and the session's
// own. The user's is raw while the agent reads from it, so that keys which make
// signals make them inside; it is never in the agent's hands.
type terminalRelay struct {
	host   *os.File // our own description of the user's terminal
	master *os.File // of the session's
	input  bool     // whether the agent reads from it

	signals chan os.Signal
	ready   chan struct{} // input may be read again
	done    chan struct{}
	output  sync.WaitGroup
	closing sync.Once

	mu    sync.Mutex
	saved *term.State // how the terminal was, while it is raw
}

// openTerminalRelay makes a relay between file, the user's terminal, and the
// master of the session's, which it then owns.
func openTerminalRelay(file, master *os.File, input bool) (*terminalRelay, error) {
	host, err := reopen(file)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	t := &terminalRelay{
		host: host, master: master, input: input,
		signals: make(chan os.Signal, 8), ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
	signal.Notify(t.signals, unix.SIGWINCH, unix.SIGCONT)
	go t.watch()
	if input {
		go t.read()
		t.resume()
	}
	t.output.Go(t.write) // who sees it types to the program
	return t, nil
}

// write shows what is written inside: until the last process there has closed
// its end (EIO), or the program has ended and close was called.
func (t *terminalRelay) write() {
	if _, err := io.Copy(t.host, t.master); errors.Is(err, os.ErrDeadlineExceeded) {
		drain(t.host, t.master)
	}
}

// reopen opens the terminal again: O_NONBLOCK on a description that the user's
// shell shares would outlast us. A terminal that somebody else logged in on, as
// before su(1), may be opened as the process's own alone.
func reopen(file *os.File) (again *os.File, err error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	err = withFD(file, func(fd int) error {
		n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags, 0)
		if errors.Is(err, unix.EACCES) {
			n, err = openOwnTerminal(fd, flags)
		}
		if err != nil {
			return err
		}
		again = os.NewFile(uintptr(n), file.Name())
		return nil
	})
	return again, err
}

// openOwnTerminal opens the controlling terminal where that is what fd is.
func openOwnTerminal(fd, flags int) (int, error) {
	own, err := unix.Open("/dev/tty", flags, 0)
	if err != nil {
		return -1, unix.EACCES
	}
	mine, err := unix.IoctlGetUint32(own, unix.TIOCGDEV)
	if err == nil {
		var theirs uint32
		if theirs, err = unix.IoctlGetUint32(fd, unix.TIOCGDEV); err == nil && mine != theirs {
			err = unix.EACCES
		}
	}
	if err != nil {
		unix.Close(own)
		return -1, err
	}
	return own, nil
}

// watch follows the terminal's size and our own being continued.
func (t *terminalRelay) watch() {
	for {
		select {
		case <-t.done:
			return
		case s := <-t.signals:
			if s == unix.SIGCONT && t.input {
				t.resume()
			}
			t.resize()
		}
	}
}

// resize gives the session's terminal the size of the user's. A terminal that
// is gone has none, and its end is noticed elsewhere.
func (t *terminalRelay) resize() {
	var size *unix.Winsize
	err := withFD(t.host, func(fd int) (err error) {
		size, err = unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		return err
	})
	if err == nil {
		withFD(t.master, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// read carries keys inside, as long as we are in the foreground: reading from
// behind would stop us (SIGTTIN).
func (t *terminalRelay) read() {
	buffer := make([]byte, 4096)
	for {
		select {
		case <-t.done:
			return
		case <-t.ready:
		}
		for {
			n, err := t.host.Read(buffer)
			if n > 0 {
				t.master.Write(buffer[:n]) // a refusal means that the session ends
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return
			}
		}
	}
}

// resume makes the terminal raw and reads from it, when we are in its
// foreground.
func (t *terminalRelay) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	withFD(t.host, func(fd int) error {
		group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		if err != nil || group != unix.Getpgrp() || t.ended() {
			return err
		}
		if t.saved == nil {
			t.saved, err = term.MakeRaw(fd)
		}
		return err
	})
	if t.saved == nil {
		return
	}
	t.host.SetReadDeadline(time.Time{})
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// suspend stops reading and makes the terminal as it was.
func (t *terminalRelay) suspend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host.SetReadDeadline(time.Unix(1, 0))
	if t.saved == nil {
		return nil
	}
	state := t.saved
	t.saved = nil
	return withFD(t.host, func(fd int) error { return term.Restore(fd, state) })
}

// stop stops this process, as the terminal would have, and returns when it is
// continued, or at once when nobody could continue it (the kernel does not stop
// an orphaned group).
func (t *terminalRelay) stop() {
	if !t.input {
		return
	}
	t.suspend()
	runtime.LockOSThread()
	// Sent to this thread, it is acted upon before the call returns.
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTSTP)
	runtime.UnlockOSThread()
	t.resume()
}

func (t *terminalRelay) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// close restores the terminal, when all output of a program that has ended is
// written, and gives both up. It may be called more than once.
func (t *terminalRelay) close() (err error) {
	t.closing.Do(func() {
		t.master.SetReadDeadline(time.Unix(1, 0))
		t.output.Wait()
		signal.Stop(t.signals)
		close(t.done)
		err = errors.Join(t.suspend(), t.host.Close(), t.master.Close())
	})
	return err
}
