// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// backlog is the queue of connections not yet accepted, and of those in TCP
// Fast Open; the kernel cuts it to net.core.somaxconn (4096 since 5.4).
const backlog = 4096

// fastOpen is the switch of TCP Fast Open in the calling thread's network
// namespace, and fastOpenServer its bit for listeners
// (Documentation/networking/ip-sysctl.rst).
const (
	fastOpen       = "/proc/sys/net/ipv4/tcp_fastopen"
	fastOpenServer = 2
)

// ListenSpec says which sockets a session has.
type ListenSpec struct {
	// Pod is for a namespace that has links: the stub has netns.DNSPort of the
	// loopback addresses, where the namespace's fence sends what asks port 53,
	// so that the container may have servers on that port. Without it, the stub
	// has port 53 of all addresses.
	Pod     bool
	Forward []uint16 // TCP ports opened on 127.0.0.1 and ::1
}

// Listen opens a session's sockets inside a namespace. They are born in the
// caller's cgroup, not in the container's. A port that is taken inside is
// EADDRINUSE.
func Listen(ns *netns.Namespace, spec ListenSpec) (*Listeners, error) {
	l := &Listeners{Forward: make(map[uint16][]*os.File)}
	err := ns.Do(func() error {
		if err := enableFastOpen(); err != nil {
			return err
		}
		for _, b := range births(spec, ns.HasIPv6()) {
			fd, err := b.open()
			if errors.Is(err, unix.EADDRINUSE) {
				return fmt.Errorf("open %s: a program inside has this port: %w", b.role, err)
			}
			if err != nil {
				return fmt.Errorf("open %s: %w", b.role, err)
			}
			l.put(b.role, os.NewFile(uintptr(fd), b.role.String()))
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sandbox: listen: %w", err), l.Close())
	}
	return l, nil
}

// enableFastOpen adds the server's side to what the namespace has. Where
// /proc/sys is read-only, connections begin with a full handshake.
func enableFastOpen() error {
	text, err := os.ReadFile(fastOpen)
	if err != nil {
		return fmt.Errorf("enable TCP Fast Open: %w", err)
	}
	has, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || has&fastOpenServer != 0 {
		return err
	}
	err = os.WriteFile(fastOpen, []byte(strconv.Itoa(has|fastOpenServer)), 0)
	if err != nil && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("enable TCP Fast Open: %w", err)
	}
	return nil
}

// birth is a socket to be born inside.
type birth struct {
	role role
	kind int // SOCK_STREAM or SOCK_DGRAM
	any  bool
}

// births lists the session's sockets. The listener is bound to the loopback
// addresses alone, so that the agent's own servers may use the others.
func births(spec ListenSpec, withIPv6 bool) []birth {
	var all []birth
	dns := uint16(dnsPort)
	if spec.Pod {
		dns = netns.DNSPort
	}
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && !withIPv6 {
			break
		}
		all = append(all,
			birth{role{useListener, ipv6, ListenerPort}, unix.SOCK_STREAM, false},
			birth{role{useDNS, ipv6, dns}, unix.SOCK_DGRAM, !spec.Pod},
			birth{role{useDNSTCP, ipv6, dns}, unix.SOCK_STREAM, !spec.Pod})
		for _, port := range spec.Forward {
			all = append(all, birth{role{useForward, ipv6, port}, unix.SOCK_STREAM, false})
		}
	}
	return all
}

// listen opens the sockets, hands them out and keeps none.
func (p *pid1) listen() error {
	if err := enableFastOpen(); err != nil {
		return err
	}
	var body listenersBody
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, b := range births(ListenSpec{Forward: p.body.Spec.Forward}, p.body.Spec.IPv6) {
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
