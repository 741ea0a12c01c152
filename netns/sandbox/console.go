// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// Streams are a program's descriptors 0, 1 and 2 as they may reach the agent:
// pipes and /dev/null. Whoever is given them owns the files.
type Streams struct {
	Files    [3]*os.File
	Terminal *Terminal // takes the place of those that it names; nil: of none
}

// Close gives the files up.
func (s Streams) Close() error {
	var errs []error
	for _, f := range s.Files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// with calls f with the descriptors.
func (s Streams) with(f func(fds [3]int) error) error {
	var fds [3]int
	for n, file := range s.Files {
		if file == nil {
			return os.ErrInvalid
		}
		fds[n] = int(file.Fd()) // makes it blocking, as the agent expects it
	}
	defer runtime.KeepAlive(s.Files)
	return f(fds)
}

// Attendant is the other end of a program's streams: who relays them and holds
// the user's terminal. Attach and End are called at most once.
type Attendant interface {
	// Begin lets what is read on the user's side go to the program.
	Begin()
	// Attach gives it the master of the program's terminal, which it owns then.
	Attach(master *os.File) error
	// Stopped says that the program was stopped, and whether to continue it when
	// Stopped returns. It is called where the program has a terminal.
	Stopped(s syscall.Signal) bool
	// End returns when all that the program wrote is written, and a terminal is
	// as it was.
	End() error
}

// Console attends a program from this process.
type Console struct {
	stdio   *stdio
	mu      sync.Mutex
	relay   *terminalRelay // nil: none yet, or no terminal
	closing sync.Once
	err     error
}

// OpenConsole judges what a program is to have as 0, 1 and 2, nil being
// /dev/null, and opens what stands in for it: see [Config]. The caller owns the
// files, and closes them after the Console.
func OpenConsole(in, out, err *os.File) (*Console, error) {
	s, failed := openStdio(in, out, err)
	if failed != nil {
		return nil, failed
	}
	return &Console{stdio: s}, nil
}

// Streams are for the program. It may be called once.
func (c *Console) Streams() Streams {
	s := Streams{Terminal: c.stdio.terminal}
	for n, fd := range c.stdio.donated {
		s.Files[n] = os.NewFile(uintptr(fd), "stream")
		c.stdio.donated[n] = -1
	}
	return s
}

// Begin implements [Attendant].
func (c *Console) Begin() { c.stdio.start() }

// Attach implements [Attendant].
func (c *Console) Attach(master *os.File) error {
	first := c.stdio.terminal.FDs[0]
	relay, err := openTerminalRelay(c.stdio.files[first], master, first == 0)
	if err != nil {
		return errors.Join(err, master.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.relay = relay
	return nil
}

func (c *Console) terminal() *terminalRelay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.relay
}

// Stopped stops this process as the program was, and returns when it is
// continued.
func (c *Console) Stopped(syscall.Signal) bool {
	if t := c.terminal(); t != nil {
		t.stop()
	}
	return true
}

// End implements [Attendant].
func (c *Console) End() error {
	c.closing.Do(func() {
		c.stdio.finish()
		if t := c.terminal(); t != nil {
			c.err = t.close()
		}
	})
	return c.err
}

// Close gives up what End leaves. What the program still writes is lost.
func (c *Console) Close() error { return c.stdio.close() }
