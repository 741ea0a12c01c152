// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that nobody lives in: a descriptor of ours
// keeps it.
type namespace struct{ file *os.File }

// path is where others find it.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

func (n *namespace) close() { n.file.Close() }

func newNamespace() (ns *namespace, err error) {
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		file, err := os.Open("/proc/thread-self/ns/net")
		ns = &namespace{file}
		return err
	})
	return ns, err
}

// do calls f on a thread in the namespace.
func (n *namespace) do(f func() error) error {
	return elsewhere(func() error { return unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET) }, f)
}

// elsewhere calls both on a thread that ends with them.
func elsewhere(enter, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// lo sets the loopback interface up.
func (n *namespace) lo() error {
	return n.do(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		ifr, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
	})
}

// connects is how many connections one median is made of.
const connects = 2000

// ownServer returns the median time of connect() to a server of the namespace's
// own, on its loopback interface.
func (n *namespace) ownServer() (t time.Duration, err error) {
	err = n.do(func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:8080")
		if err != nil {
			return err
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		t, err = timeConnects(unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 8080})
		return err
	})
	return t, err
}

// outward returns the median time of connect() to an address that stands for a
// name: to the proxy.
func (n *namespace) outward() (t time.Duration, err error) {
	err = n.do(func() error {
		t, err = timeConnects(unix.SockaddrInet4{Addr: [4]byte{198, 18, 0, 7}, Port: 443})
		return err
	})
	return t, err
}

func timeConnects(to unix.SockaddrInet4) (time.Duration, error) {
	times := make([]time.Duration, 0, connects)
	for range connects {
		took, err := timeConnect(to)
		if err != nil {
			return 0, fmt.Errorf("connect to %s, the %d. time: %w", netip.AddrPortFrom(netip.AddrFrom4(to.Addr), uint16(to.Port)), len(times)+1, err)
		}
		times = append(times, took)
	}
	return middle(times), nil
}

// timeConnect times connect() alone. The connection is reset, so that none is
// left waiting.
func timeConnect(to unix.SockaddrInet4) (time.Duration, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = unix.Connect(s, &to)
	took := time.Since(began)
	err = errors.Join(err, unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), unix.Close(s))
	return took, err
}

func middle(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}
