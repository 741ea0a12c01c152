// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Origin is what the kernel remembers of a connection: where the agent meant
// to go, and which task asked. PID, UID and Comm are zero when the connection
// came by the second layer, which knows the destination alone.
type Origin struct {
	Dst  netip.AddrPort
	PID  uint32
	UID  uint32
	Comm string // the task's own name for itself: untrusted
}

// ErrNoOrigin is wrapped when the kernel does not know a connection's
// destination. Such a connection is closed, never given a default.
var ErrNoOrigin = errors.New("connection has no origin")

// The answer to SO_ORIGINAL_DST with a buffer of 64 bytes, the layout of the
// BPF program's struct origin. Integers are in the host's byte order, but for
// the port.
//
//	0        32    36    40              48        64
//	sockaddr | pid | uid | socket cookie | comm[16]
const (
	originSize     = 64
	originPID      = 32
	originUID      = 36
	originComm     = 48
	soOriginalDst  = 80 // netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number
	sockaddrPort   = 2
	sockaddr4Bytes = 4
	sockaddr6Bytes = 8
)

// KernelOrigin returns the origin lookup of a session whose own addresses,
// besides loopback, are given. It asks SO_ORIGINAL_DST, which BPF answers from
// the accepted socket's storage. Where there is no answer the connection may
// have come by the second layer, which leaves the local address what the agent
// dialled; a local address of our own then means a connection straight to the
// listener, which has no origin.
func KernelOrigin(own ...netip.Addr) func(net.Conn) (Origin, error) {
	own = slices.Clone(own)
	return func(conn net.Conn) (Origin, error) {
		local, err := localAddress(conn)
		if err != nil {
			return Origin{}, fmt.Errorf("look up origin: %w", err)
		}
		answer, asked := askOrigin(conn, local.Addr().Is6())
		o := Origin{Dst: local}
		if asked == nil && len(answer) == originSize {
			if o, err = parseOrigin(answer); err != nil {
				return Origin{}, err
			}
		} // anything shorter is connection tracking's, which knows no more than we do
		if addr := o.Dst.Addr(); addr.IsLoopback() || addr.IsUnspecified() || slices.Contains(own, addr) {
			return Origin{}, fmt.Errorf("look up origin: %w", ErrNoOrigin)
		}
		return o, nil
	}
}

func localAddress(conn net.Conn) (netip.AddrPort, error) {
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, ErrNoOrigin
	}
	local := tcp.AddrPort()
	return netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port()), nil
}

// askOrigin asks at the level of the socket's family: an IPv6 listener of ours
// is bound to ::1 and never holds a mapped connection.
func askOrigin(conn net.Conn, v6 bool) ([]byte, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, ErrNoOrigin
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	level := unix.SOL_IP
	if v6 {
		level = unix.SOL_IPV6
	}
	var answer []byte
	var asked error
	if err := raw.Control(func(fd uintptr) { answer, asked = getOrigin(fd, level) }); err != nil {
		return nil, err
	}
	return answer, asked
}

func getOrigin(fd uintptr, level int) ([]byte, error) {
	var buf [originSize]byte
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), soOriginalDst,
		uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	return buf[:min(size, originSize)], nil
}

// parseOrigin takes an answer of originSize bytes.
func parseOrigin(b []byte) (Origin, error) {
	dst, err := parseSockaddr(b)
	if err != nil {
		return Origin{}, fmt.Errorf("look up origin: %w", err)
	}
	comm, _, _ := strings.Cut(string(b[originComm:]), "\x00")
	return Origin{
		Dst:  dst,
		PID:  binary.NativeEndian.Uint32(b[originPID:]),
		UID:  binary.NativeEndian.Uint32(b[originUID:]),
		Comm: comm,
	}, nil
}

func parseSockaddr(b []byte) (netip.AddrPort, error) {
	var addr netip.Addr
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(b[sockaddr4Bytes:]))
	case unix.AF_INET6:
		addr = netip.AddrFrom16([16]byte(b[sockaddr6Bytes:])).Unmap()
	}
	port := binary.BigEndian.Uint16(b[sockaddrPort:])
	if !addr.IsValid() || addr.IsUnspecified() || port == 0 {
		return netip.AddrPort{}, ErrNoOrigin
	}
	return netip.AddrPortFrom(addr, port), nil
}
