// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// R11: what a socket can be told before it connects, and after.
var optionWays = map[string]way{
	"bind_source":   withBind("203.0.113.2", away4),
	"bind_source6":  withBind("2001:db8:1::2", away6),
	"bind_target":   withBind(away4, "192.0.2.8"),
	"bind_device":   withDevice("outside0"),
	"bind_lo":       withDevice("lo"),
	"mark":          withOption(unix.SOL_SOCKET, unix.SO_MARK, 0x539),
	"mark_proxy":    withOption(unix.SOL_SOCKET, unix.SO_MARK, 1),
	"transparent":   withOption(unix.SOL_IP, unix.IP_TRANSPARENT, 1),
	"transparent6":  withOption(unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1),
	"freebind":      withOption(unix.SOL_IP, unix.IP_FREEBIND, 1),
	"unicast_if":    withOption(unix.SOL_IP, unix.IP_UNICAST_IF, 1<<24),
	"dontroute":     withOption(unix.SOL_SOCKET, unix.SO_DONTROUTE, 1),
	"repair":        withOption(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1),
	"ulp_smc":       withULP("smc"),
	"source_route":  sourceRoute,
	"reconnect":     reconnect,
	"unspec_first":  unspecFirst,
	"port_reuse":    portReuse,
	"peer_is_asked": peerIsAsked,
	"addrform":      addressForm,
}

func withOption(level, name, value int) way {
	to := at(away4, 443)
	if level == unix.SOL_IPV6 {
		to = at(away6, 443)
	}
	return func() string {
		return reachFrom(func(fd int, s *steps) {
			s.did("option", unix.SetsockoptInt(fd, level, name, value))
		}, to)
	}
}

func withBind(source, target string) way {
	return func() string {
		return reachFrom(func(fd int, s *steps) {
			s.did("bind", unix.Bind(fd, sockaddr(at(source, 0))))
		}, at(target, 443))
	}
}

func withDevice(name string) way {
	return func() string {
		return reachFrom(func(fd int, s *steps) {
			s.did("device", unix.BindToDevice(fd, name))
		}, at(away4, 443))
	}
}

func withULP(name string) way {
	return func() string {
		return reachFrom(func(fd int, s *steps) {
			s.did("option", unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, name))
		}, at(away4, 443))
	}
}

// loose is an IPv4 option that routes by way of away4 (RFC 791, section 3.1).
var loose = string([]byte{131, 7, 4, 192, 0, 2, 7, 0})

// sourceRoute names an address that is let through and adds another to go by.
func sourceRoute() string {
	return reachFrom(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, loose))
	}, at("127.0.0.1", 9))
}

// reconnect leaves an allowed connection for another destination.
func reconnect() string {
	address, err := lookup("tcp4", fact("name"))
	if err != nil {
		return word(err)
	}
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_STREAM)
	s.did("connect", connect(fd, netip.AddrPortFrom(address, 443)))
	s.did("ends", unix.Connect(fd, sockaddr(at(away4, 443)))) // as it would for the first address
	s.did("twice", unix.Connect(fd, sockaddr(at(away4, 443))))
	s.did("unspec", unspec(fd))
	s.did("again", connect(fd, at(away4, 443)))
	return s.String()
}

func unspecFirst() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_STREAM)
	s.did("connect", connect(fd, at(away4, 443)))
	s.did("unspec", unspec(fd))
	s.did("again", connect(fd, at(away4, 443)))
	return s.String()
}

// portReuse connects from the very port of an allowed connection.
func portReuse() string {
	address, err := lookup("tcp4", fact("name"))
	if err != nil {
		return word(err)
	}
	var s steps
	first, second := socket(unix.AF_INET, unix.SOCK_STREAM), socket(unix.AF_INET, unix.SOCK_STREAM)
	for _, fd := range []int{first, second} {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	s.did("bind", unix.Bind(first, sockaddr(at("127.0.0.1", 0))))
	own, err := unix.Getsockname(first)
	if err != nil {
		return word(err)
	}
	s.did("connect", connect(first, netip.AddrPortFrom(address, 443)))
	s.did("bind", unix.Bind(second, own))
	s.did("again", connect(second, at(away4, 443)))
	return s.String()
}

// peerIsAsked tells whether the socket shows the proxy's address.
func peerIsAsked() string {
	address, err := lookup("tcp4", fact("name"))
	if err != nil {
		return word(err)
	}
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_STREAM)
	s.did("connect", connect(fd, netip.AddrPortFrom(address, 443)))
	peer, err := unix.Getpeername(fd)
	s.did("getpeername", err)
	if sa, ok := peer.(*unix.SockaddrInet4); ok && netip.AddrFrom4(sa.Addr) == address && sa.Port == 443 {
		s = append(s, "asked")
	}
	return s.String()
}

// addressForm turns a mapped socket into one of IPv4 (IPV6_ADDRFORM), and takes
// that elsewhere.
func addressForm() string {
	address, err := lookup("tcp4", fact("name"))
	if err != nil {
		return word(err)
	}
	var s steps
	fd := socket(unix.AF_INET6, unix.SOCK_STREAM)
	s.did("connect", connect(fd, netip.AddrPortFrom(netip.AddrFrom16(address.As16()), 443)))
	s.did("form", unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_ADDRFORM, unix.AF_INET))
	s.did("unspec", unspec(fd))
	s.did("again", connect(fd, at(away4, 443)))
	return s.String()
}
