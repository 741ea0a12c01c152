// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// self names the network namespace of the calling thread; /proc/self would
// name the main thread's.
const self = "/proc/thread-self/ns/net"

// Namespace is a handle to a network namespace. It is safe for concurrent use
// until Close.
type Namespace struct {
	file *os.File
	ipv6 atomic.Bool
}

// New makes a sealed namespace and returns a handle to it. The caller needs
// CAP_SYS_ADMIN and CAP_NET_ADMIN; it stays in its own namespace.
func New() (*Namespace, error) {
	var ns *Namespace
	err := away(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		return routed(func(handle *netlink.Handle) error {
			ipv6, err := seal(handle)
			if err != nil {
				return err
			}
			file, err := os.Open(self)
			if err != nil {
				return fmt.Errorf("open namespace: %w", err)
			}
			ns = &Namespace{file: file}
			ns.ipv6.Store(ipv6)
			return nil
		})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make network namespace: %w", err), ns.Close())
	}
	return ns, nil
}

// FD is the descriptor of the namespace, as setns(2) takes it. It stays owned
// by the Namespace.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// HasIPv6 says whether lo has IPv6. Of a namespace that Open returned, that is
// what was so then.
func (n *Namespace) HasIPv6() bool { return n.ipv6.Load() }

// Cookie identifies the namespace for as long as the host runs: unlike an
// inode number it is never used again. It is 0, without an error, on kernels
// before 5.14, which have no SO_NETNS_COOKIE.
func (n *Namespace) Cookie() (cookie uint64, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if errors.Is(err, unix.ENOPROTOOPT) {
			cookie, err = 0, nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read namespace cookie: %w", err)
	}
	return cookie, nil
}

// Do calls f inside the namespace, on the calling goroutine, which is locked to
// its thread meanwhile. Sockets and processes that f makes are born inside;
// goroutines that f starts are not. When the thread cannot return, Do reports it
// and leaves the goroutine locked to that thread: the goroutine should end, and
// the thread ends with it.
func (n *Namespace) Do(f func() error) error {
	return away(func() error { return unix.Setns(n.FD(), unix.CLONE_NEWNET) }, f)
}

// Close releases the handle. The namespace itself goes with its last process or
// socket.
func (n *Namespace) Close() error {
	if n == nil || n.file == nil {
		return nil
	}
	return n.file.Close()
}

// away moves the calling thread into another namespace by leave, calls f there
// and brings the thread back.
func away(leave, f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open %s: %w", self, err)
	}
	defer unix.Close(home)
	if err := leave(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
