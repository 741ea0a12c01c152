// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// backlog is the queue of connections not yet accepted, and of those in TCP
// Fast Open; the kernel cuts it to net.core.somaxconn (4096 since 5.4).
const backlog = 4096

// fastOpen switches the server's side of TCP Fast Open on in the session's
// network namespace (Documentation/networking/ip-sysctl: 1 client, 2 server).
const fastOpen = "/proc/sys/net/ipv4/tcp_fastopen"

// birth is a socket to be born inside.
type birth struct {
	role role
	kind int // SOCK_STREAM or SOCK_DGRAM
	any  bool
}

// births lists the session's sockets. The listener is bound to the loopback
// addresses alone, so that the agent's own servers may use the others.
func (s *Spec) births() []birth {
	var all []birth
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && !s.IPv6 {
			break
		}
		all = append(all,
			birth{role{useListener, ipv6, ListenerPort}, unix.SOCK_STREAM, false},
			birth{role{useDNS, ipv6, dnsPort}, unix.SOCK_DGRAM, true},
			birth{role{useDNSTCP, ipv6, dnsPort}, unix.SOCK_STREAM, true})
		for _, port := range s.Forward {
			all = append(all, birth{role{useForward, ipv6, port}, unix.SOCK_STREAM, false})
		}
	}
	return all
}

// listen opens the sockets, hands them out and keeps none.
func (p *pid1) listen() error {
	// Where /proc/sys is read-only, connections begin with a full handshake.
	if err := os.WriteFile(fastOpen, []byte("3"), 0); err != nil && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("enable TCP Fast Open: %w", err)
	}
	var body listenersBody
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, b := range p.body.Spec.births() {
		fd, err := b.open()
		if err != nil {
			return fmt.Errorf("open %s: %w", b.role, err)
		}
		fds = append(fds, fd)
		body.Roles = append(body.Roles, b.role)
	}
	if err := send(p.control, kindListeners, body, fds...); err != nil {
		return fmt.Errorf("send sockets: %w", err)
	}
	return nil
}

// open makes the socket by plain calls: package net would make it an MPTCP one,
// which loses its storage.
func (b birth) open() (int, error) {
	family := unix.AF_INET
	if b.role.IPv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, b.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := errors.Join(b.set(fd), unix.Bind(fd, b.address())); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	if b.kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (b birth) address() unix.Sockaddr {
	port := int(b.role.Port)
	switch {
	case b.role.IPv6 && b.any:
		return &unix.SockaddrInet6{Port: port}
	case b.role.IPv6:
		return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	case b.any:
		return &unix.SockaddrInet4{Port: port}
	}
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// option is a socket option that is set to value.
type option struct {
	level, name, value int
}

func (b birth) set(fd int) error {
	var options []option
	if b.role.IPv6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	switch {
	case b.kind == unix.SOCK_STREAM:
		options = append(options,
			option{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
			option{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, backlog})
	case b.role.IPv6:
		options = append(options,
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
			// To answer from an address that is ours only by AnyIP.
			option{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1})
	default:
		options = append(options, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	return nil
}
