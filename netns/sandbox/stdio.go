// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// nullDevice is the number of /dev/null (Documentation/admin-guide/devices.txt).
var nullDevice = unix.Mkdev(1, 3)

// manner says how a descriptor of the supervisor's reaches the agent.
type manner int

const (
	given    manner = iota // as it is
	terminal               // a terminal of the session's own, relayed
	relayed                // a pipe, relayed
)

// stdio holds the agent's descriptors 0, 1 and 2 on both sides.
type stdio struct {
	files    [3]*os.File    // the supervisor's
	donated  [3]int         // init's, ours to close; -1 is none
	manners  [3]manner      // of each
	terminal *Terminal      // nil when no descriptor is one
	ours     []*os.File     // our ends of pipes
	written  []*os.File     // of those, what the agent writes to
	copies   []func()       // relays to start
	outputs  sync.WaitGroup // relays that end with the agent
}

// openStdio judges the three files and opens what stands in for them.
func openStdio(in, out, err *os.File) (*stdio, error) {
	s := &stdio{files: [3]*os.File{in, out, err}, donated: [3]int{-1, -1, -1}}
	for n := range s.files {
		if err := s.open(n); err != nil {
			s.close()
			return nil, fmt.Errorf("pass descriptor %d: %w", n, err)
		}
	}
	return s, nil
}

func (s *stdio) open(n int) (err error) {
	file := s.files[n]
	if file == nil {
		s.donated[n], err = openNull()
		return err
	}
	return withFD(file, func(fd int) error {
		if s.manners[n], err = judge(fd); err != nil {
			return err
		}
		switch s.manners[n] {
		case given:
			s.donated[n], err = passOn(fd)
		case terminal:
			if err = s.addTerminal(n, fd); err == nil {
				s.donated[n], err = openNull() // until init has opened the terminal
			}
		case relayed:
			if n == 2 && s.manners[1] == relayed && sameFile(s.files[1], file) {
				// One pipe for both, or what is written to them would change places.
				s.donated[n], err = duplicate(s.donated[1])
				return err
			}
			err = s.addRelay(n, file)
		}
		return err
	})
}

// judge says how fd may reach the agent. Sockets lead out, a device or terminal
// is shared with the user (TIOCSTI, reading keys), and a file could be opened
// again by /proc/self/fd, for writing, past the read-only view; a directory is a
// way around every mount.
func judge(fd int) (manner, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return given, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return given, nil
	case unix.S_IFREG, unix.S_IFSOCK, unix.S_IFBLK:
		return relayed, nil
	case unix.S_IFDIR:
		return given, unix.EISDIR
	case unix.S_IFCHR:
		if uint64(st.Rdev) == nullDevice {
			return given, nil
		}
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			return terminal, nil
		}
		return relayed, nil
	}
	return given, fmt.Errorf("file type %#o: %w", st.Mode&unix.S_IFMT, unix.EINVAL)
}

// passOn duplicates fd for the agent, which expects a blocking description.
func passOn(fd int) (int, error) {
	if err := unix.SetNonblock(fd, false); err != nil {
		return -1, err
	}
	return duplicate(fd)
}

func duplicate(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, controlFD)
}

// sameFile tells whether two descriptors lead to the same file or socket.
func sameFile(a, b *os.File) bool {
	first, err := a.Stat()
	if err != nil {
		return false
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second)
}

func openNull() (int, error) {
	return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
}

func (s *stdio) addTerminal(n, fd int) error {
	if s.terminal == nil {
		mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		s.terminal = &Terminal{Mode: *mode, Size: *size}
	}
	if n > 0 && len(s.terminal.FDs) == 0 {
		// Without input the user's terminal stays as it is and adds the
		// carriage returns itself.
		s.terminal.Mode.Oflag &^= unix.OPOST
	}
	s.terminal.FDs = append(s.terminal.FDs, n)
	return nil
}

// addRelay makes a pipe between the agent's descriptor n and file. Reading
// stdin may outlast the session: a read of a blocking socket cannot be called
// off, and ends with the process.
func (s *stdio) addRelay(n int, file *os.File) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	inner, outer := ends[1], ends[0]
	if n == 0 {
		inner, outer = ends[0], ends[1]
	}
	s.donated[n] = inner
	if err := unix.SetNonblock(outer, true); err != nil {
		unix.Close(outer)
		return err
	}
	pipe := os.NewFile(uintptr(outer), "relay")
	s.ours = append(s.ours, pipe)
	if n == 0 {
		s.copies = append(s.copies, func() { go relay(pipe, file, pipe) })
		return nil
	}
	s.written = append(s.written, pipe)
	s.copies = append(s.copies, func() { s.outputs.Go(func() { relayOut(file, pipe) }) })
	return nil
}

// relay copies until either side ends, then closes pipe. Nothing is left to be
// done about a refused write: the other end is gone, and the closing tells the
// agent.
func relay(to, from, pipe *os.File) {
	io.Copy(to, from)
	pipe.Close()
}

// relayOut copies what the agent writes until nobody holds the pipe or finish
// was called, and then what is in it.
func relayOut(to, pipe *os.File) {
	defer pipe.Close()
	if _, err := io.Copy(to, pipe); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	drain(to, pipe)
}

// drain copies what is in a pipe or terminal by now. What was written to a
// terminal is there when a read says that nothing is (e052c6d15c61, Linux 4.5).
func drain(to, from *os.File) {
	buffer := make([]byte, 64<<10) // a pipe's default size (pipe(7))
	withFD(from, func(fd int) error {
		for {
			n, err := unix.Read(fd, buffer)
			if n <= 0 || err != nil {
				return err
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
	})
}

// finish returns when all that the agent wrote is written. It has ended, but
// what it started may hold its streams open.
func (s *stdio) finish() {
	for _, pipe := range s.written {
		// A relay that has ended has closed it.
		_ = pipe.SetReadDeadline(time.Unix(1, 0))
	}
	s.outputs.Wait()
}

// start begins to relay.
func (s *stdio) start() {
	for _, begin := range s.copies {
		begin()
	}
	s.copies = nil
}

// donate gives up this side's copies of init's descriptors.
func (s *stdio) donate() {
	for n, fd := range s.donated {
		if fd >= 0 {
			unix.Close(fd)
		}
		s.donated[n] = -1
	}
}

// close gives everything up. Relays that were never started end here.
func (s *stdio) close() error {
	s.donate()
	var errs []error
	for _, f := range s.ours {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// withFD calls f with the descriptor of file and leaves its mode alone, where
// file.Fd would make a non-blocking one blocking.
func withFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
