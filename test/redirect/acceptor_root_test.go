// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tally is what the accepting side saw.
type tally struct {
	accepted atomic.Int64
	steered  atomic.Int64          // of accepted: by the second layer, getsockname() is the origin
	missing  atomic.Int64          // no origin: a proxy closes these
	wrong    atomic.Int64          // an origin that is not the one asked for
	silent   atomic.Int64          // no message arrived, so nothing to compare with
	first    atomic.Pointer[error] // of silent: what the read said
}

func (c *tally) String() string {
	text := fmt.Sprintf("accepted %d steered %d missing %d wrong %d silent %d",
		c.accepted.Load(), c.steered.Load(), c.missing.Load(), c.wrong.Load(), c.silent.Load())
	if err := c.first.Load(); err != nil {
		text += fmt.Sprintf(" (the first: %v)", *err)
	}
	return text
}

// newDrain starts accepting and looks at nothing.
func newDrain(w *world) {
	acceptOn(w, func(fd int) {})
}

// acceptOn serves both listeners until the test ends, each connection in turn, and closes it afterwards.
func acceptOn(w *world, serve func(fd int)) {
	var done sync.WaitGroup
	for _, listener := range w.listeners {
		done.Go(func() {
			for {
				fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
				if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
					continue
				}
				if err != nil {
					return
				}
				serve(fd)
				unix.Close(fd)
			}
		})
	}
	w.t.Cleanup(func() {
		for _, listener := range w.listeners {
			unix.Shutdown(listener, unix.SHUT_RD) // ends accept
		}
		done.Wait()
	})
}

// acceptor accepts on both listeners, one connection after the other on each: when a connection has been judged, so
// have all that were made before it.
type acceptor struct {
	w      *world
	tally  atomic.Pointer[tally]
	notify atomic.Pointer[func(accepted int64)]
}

// comm is what the clients are called, and the kernel must say so.
const comm = "client"

// newAcceptor starts accepting; the acceptor stops when the test ends.
func newAcceptor(w *world) *acceptor {
	a := &acceptor{w: w}
	a.tally.Store(&tally{})
	acceptOn(w, a.serve)
	return a
}

func (a *acceptor) serve(fd int) {
	c := a.tally.Load()
	judge(fd, c)
	n := c.accepted.Add(1)
	if notify := a.notify.Load(); notify != nil {
		(*notify)(n)
	}
}

func judge(fd int, c *tally) {
	origin, steered, err := originOf(fd)
	if steered {
		c.steered.Add(1)
	}
	if err != nil {
		c.missing.Add(1)
		return
	}
	asked, err := readMessage(fd)
	if err != nil {
		c.silent.Add(1)
		c.first.CompareAndSwap(nil, &err)
	} else if asked != origin {
		c.wrong.Add(1)
	}
}

// readMessage reads the destination that the client asked for.
func readMessage(fd int) (netip.AddrPort, error) {
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return netip.AddrPort{}, err
	}
	var message [18]byte
	n, err := unix.Read(fd, message[:])
	for errors.Is(err, unix.EINTR) { // the runtime's own signals; a read with a time limit is not restarted, signal(7)
		n, err = unix.Read(fd, message[:])
	}
	if err == nil && n != len(message) {
		err = fmt.Errorf("%d bytes", n)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	address := netip.AddrFrom16([16]byte(message[:16])).Unmap()
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(message[16:])), nil
}

var errNoOrigin = errors.New("no origin")

// originOf does what the proxy does: the hooks' answer, else the second layer's, else nothing.
func originOf(fd int) (origin netip.AddrPort, steered bool, err error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	level := unix.SOL_IP
	local := addrPort(name)
	if local.Addr().Is6() {
		level = unix.SOL_IPV6
	}
	origin, err = askOrigin(fd, level)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		if local.Addr().IsLoopback() {
			return netip.AddrPort{}, false, errNoOrigin
		}
		return local, true, nil
	}
	return origin, false, err
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

func askOrigin(fd, level int) (netip.AddrPort, error) {
	var answer [64]byte
	length := uint32(len(answer))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), soOriginalDst,
		uintptr(unsafe.Pointer(&answer)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	if got := unix.ByteSliceToString(answer[48:]); got != comm || length != 64 {
		return netip.AddrPort{}, fmt.Errorf("answer of %d bytes names %q", length, got)
	}
	port := binary.BigEndian.Uint16(answer[2:])
	if level == unix.SOL_IP {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(answer[4:])), port), nil
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(answer[8:])), port), nil
}

func addrPort(name unix.Sockaddr) netip.AddrPort {
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), uint16(name.Port))
	}
	return netip.AddrPort{}
}

// clean fails the test unless every connection had its origin.
func (c *tally) clean(t *testing.T) {
	t.Helper()
	if c.missing.Load() != 0 || c.wrong.Load() != 0 {
		t.Errorf("%v: want 0 missing, 0 wrong", c)
	}
}
