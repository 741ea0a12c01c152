// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acts are what this binary does in a session when it is started again, chosen by argv[0]. Each prints one line.
var acts = map[string]func() string{
	"bpf: connect":     func() string { return errnoName(connectTo(undeclared, 1)) },
	"bpf: connect 200": func() string { return errnoName(connectTo(undeclared, 200)) },
	"bpf: unanswered":  func() string { return errnoName(connectTo(synthetic, 200)) },
	"bpf: crowd":       func() string { return errnoName(crowd()) },
	"bpf: options":     func() string { return errnoName(readOptions()) },
	"bpf: origin":      originOfOwnConnection,
	"bpf: unix":        actUnix,
	"bpf: crash":       actCrash,
	"bpf: servers":     actServers,

	"bpf: hold node":      holdNode,
	"bpf: connect until":  connectUntil,
	"bpf: time connects":  timeConnects,
	"bpf: serve":          serve,
	"bpf: escape":         escape,
	"bpf: send":           func() string { return errnoName(sendOut("", 443)) },
	"bpf: send by link":   func() string { return errnoName(sendOut("eth0", 443)) },
	"bpf: send query":     func() string { return errnoName(sendOut("", 53)) },
	"bpf: send connected": func() string { return errnoName(sendConnected()) },
}

func TestMain(m *testing.M) {
	if act, ok := acts[os.Args[0]]; ok {
		fmt.Println(act())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

var (
	undeclared = unix.SockaddrInet4{Port: 443, Addr: [4]byte{203, 0, 113, 1}}
	synthetic  = unix.SockaddrInet4{Port: 443, Addr: [4]byte{198, 18, 0, 1}}
)

// connectTo tries a destination a number of times and returns the last error.
func connectTo(to unix.SockaddrInet4, times int) (err error) {
	for range times {
		fd, socketErr := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if socketErr != nil {
			return socketErr
		}
		err = unix.Connect(fd, &to)
		unix.Close(fd)
	}
	return err
}

// crowd keeps more handshakes open than the session may have: the first connection fills the listener's queue, and the
// SYNs of the others wait.
func crowd() error {
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	at := &unix.SockaddrInet4{Port: 981, Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(server, at), unix.Listen(server, 0)); err != nil {
		return err
	}
	for i := range 20 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &synthetic); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect: %w", err)
		}
		if i > 0 {
			continue
		}
		// On a busy machine the queue is filled after connect() has returned.
		waiting := []unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}
		for waiting[0].Revents == 0 {
			if _, err := unix.Poll(waiting, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("poll: %w", err)
			}
		}
	}
	return nil
}

// readOptions asks for options of all lengths, the last longer than the page that BPF may see.
func readOptions() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return fmt.Errorf("SO_TYPE is %d: %w", kind, err)
	}
	if _, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
		return fmt.Errorf("TCP_INFO: %w", err)
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, 9999); !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("unknown option: %w", err)
	}
	return readLongOption(fd)
}

// readLongOption brings a buffer of four pages for TCP_CONGESTION, which fills 16 bytes of it.
func readLongOption(fd int) error {
	buffer := make([]byte, 4*os.Getpagesize())
	length := uint32(len(buffer))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION,
		uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return fmt.Errorf("long option: %w", errno)
	}
	if length != 16 || buffer[0] == 0 {
		return fmt.Errorf("long option: %d bytes, %q", length, buffer[:16])
	}
	return nil
}

// originOfOwnConnection connects to a listener of its own, which is the session's, and prints what it can learn.
func originOfOwnConnection() string {
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	at := &unix.SockaddrInet4{Port: 981, Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(server, at), unix.Listen(server, 1)); err != nil {
		return err.Error()
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	if err := unix.Connect(client, &synthetic); err != nil {
		return err.Error()
	}
	accepted, _, err := unix.Accept(server)
	if err != nil {
		return err.Error()
	}
	cookie, err := unix.GetsockoptUint64(client, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %d %s|%s|%s|%s|%s", os.Getpid(), cookie,
		askOrigin(accepted, unix.SOL_IP, 64), askOrigin(accepted, unix.SOL_IP, 16), askOrigin(accepted, unix.SOL_IPV6, 28),
		askOrigin(accepted, unix.SOL_IP, 15), askOrigin(client, unix.SOL_IP, 64))
}

func askOrigin(fd, level int, room uint32) string {
	buffer := make([]byte, 64)
	length := room
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), 80,
		uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return unix.ErrnoName(errno)
	}
	return fmt.Sprintf("%x", buffer[:length])
}
