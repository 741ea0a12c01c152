// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where this agent wants to go: documentation addresses (RFC 5737, RFC 3849),
// which the test's network would carry.
const (
	away4 = "192.0.2.7"
	away6 = "2001:db8:2::7"
)

var tcpWays = map[string]way{
	// R1: an address that nobody declared.
	"tcp4":      reach(away4, 443),
	"tcp4_http": reach(away4, 80),
	"tcp4_ssh":  reach(away4, 22),
	"tcp4_dns":  reach(away4, 53),
	"thread":    thread,
	"vfork":     again("tcp4"),
	"nonblock":  nonblocking,
	// R2: ports of an allowed name that the policy does not have.
	"name_http":  reachName("tcp4", 80),
	"name_ssh":   reachName("tcp4", 22),
	"name_8443":  reachName("tcp4", 8443),
	"name_v6":    reachName("tcp6", 8443),
	"synth_free": reach("198.18.77.77", 443),
	"synth_own":  reach("198.18.255.77", 443),
	"synth_v6":   reach("fd70:6861:6e74::4d4d", 443),
	// R3: every spelling of an address.
	"tcp6":        reach(away6, 443),
	"mapped":      reach("::ffff:"+away4, 443),
	"compat":      reach("::"+away4, 443),
	"nat64":       reach("64:ff9b::"+away4, 443),
	"nat64_meta":  reach("64:ff9b::169.254.169.254", 80),
	"six_to_four": reach("2002:c000:0207::1", 443),
	"linklocal4":  reach("169.254.1.1", 443),
	"linklocal6":  reach("fe80::1%lo", 443),
	"multicast4":  reach("224.0.0.251", 443),
	"multicast6":  reach("ff02::1%lo", 443),
	"broadcast":   reach("255.255.255.255", 443),
	// R4: other ways to begin a connection.
	"mptcp":       opened(unix.AF_INET, unix.SOCK_STREAM, 262),
	"mptcp6":      opened(unix.AF_INET6, unix.SOCK_STREAM, 262),
	"tfo_sendto":  fastOpen(away4),
	"tfo_v6":      fastOpen(away6),
	"tfo_mapped":  fastOpen("::ffff:" + away4),
	"tfo_connect": fastOpenConnect,
	// R7: a resolver that is asked in TLS.
	"dot4": reach("8.8.8.8", 853),
	"dot6": reach("2001:4860:4860::8888", 853),
	// R9: the proxy's own listener.
	"listener4":       reach("127.0.0.1", 981),
	"listener6":       reach("::1", 981),
	"listener_other":  reach("127.8.9.1", 981),
	"listener_any4":   reach("0.0.0.0", 981),
	"listener_any6":   reach("::", 981),
	"listener_own4":   reach("198.18.255.1", 981),
	"listener_own6":   reach("fd70:6861:6e74:ffff::1", 981),
	"listener_mapped": reach("::ffff:127.0.0.1", 981),
	"listener_tfo":    listenerByFastOpen,
	"listener_bind":   bindListener,
	// R13: metadata services.
	"meta_aws4":   reach("169.254.169.254", 80),
	"meta_aws6":   reach("fd00:ec2::254", 80),
	"meta_ecs":    reach("169.254.170.2", 80),
	"meta_azure":  reach("168.63.129.16", 80),
	"meta_oracle": reach("192.0.0.192", 80),
	"meta_ali":    reach("100.100.100.200", 80),
	// R14: another session.
	"sibling4":     reach("127.0.0.1", siblingPort),
	"sibling6":     reach("::1", siblingPort),
	"sibling_own4": reach("198.18.255.1", siblingPort),
	"sibling_own6": reach("fd70:6861:6e74:ffff::1", siblingPort),
	// R14: the host and its neighbours.
	"host_loopback": reachFact("loopback"),
	"host_mapped":   reachMapped("loopback"),
	"host_address":  reachFact("address"),
	"host_address6": reachFact("address6"),
	"gateway":       reach("203.0.113.1", 80),
	"lan10":         reach("10.0.0.1", 80),
	"lan172":        reach("172.17.0.1", 80),
	"lan192":        reach("192.168.1.1", 80),
	"lan_ula":       reach("fd12:3456:789a::1", 80),
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Zone() != "" {
		sa.ZoneId = 1 // of lo
	}
	return sa
}

func family(to netip.AddrPort) int {
	if to.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func at(address string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(address), port)
}

// socket opens a socket that does not block.
func socket(family, kind int) int {
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fail(err)
	}
	return fd
}

// connect waits for the outcome.
func connect(fd int, to netip.AddrPort) error {
	err := unix.Connect(fd, sockaddr(to))
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return finish(fd)
}

func finish(fd int) error {
	if !ready(fd, unix.POLLOUT) {
		return unix.ETIMEDOUT
	}
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && value != 0 {
		err = syscall.Errno(value)
	}
	return err
}

// ready waits until the socket has events or patience ends.
func ready(fd int, events int16) bool {
	deadline := time.Now().Add(patience())
	for {
		left := int(time.Until(deadline).Milliseconds())
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, max(left, 0))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0
	}
}

// listenTo says what the other side of an open connection answers to a greeting:
// closed when it ends without a word.
func listenTo(fd int) string {
	unix.Write(fd, []byte("escape\r\n\r\n"))
	if !ready(fd, unix.POLLIN) {
		return "silent"
	}
	n, err := unix.Read(fd, make([]byte, 64))
	if n > 0 {
		return "answered"
	}
	if err == nil || errors.Is(err, unix.ECONNRESET) {
		return "closed"
	}
	return word(err)
}

func reach(address string, port uint16) way {
	return func() string { return reachFrom(nil, at(address, port)) }
}

// reachFrom connects a socket that prepare was let loose on.
func reachFrom(prepare func(fd int, s *steps), to netip.AddrPort) string {
	var s steps
	fd := socket(family(to), unix.SOCK_STREAM)
	if prepare != nil {
		prepare(fd, &s)
	}
	err := connect(fd, to)
	if errors.Is(err, unix.ECONNRESET) {
		// Closed before it was looked at, but it had been open.
		return append(s, "connect=ok", "closed").String()
	}
	if s.did("connect", err) {
		s = append(s, listenTo(fd))
	}
	return s.String()
}

func reachFact(key string) way {
	return func() string { return reachFrom(nil, netip.MustParseAddrPort(fact(key))) }
}

func reachMapped(key string) way {
	return func() string {
		to := netip.MustParseAddrPort(fact(key))
		return reachFrom(nil, netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port()))
	}
}

func reachName(network string, port uint16) way {
	return func() string {
		address, err := lookup(network, fact("name"))
		if err != nil {
			return word(err)
		}
		return reachFrom(nil, netip.AddrPortFrom(address, port))
	}
}

// thread connects from a thread that was made for it.
func thread() string {
	runtime.LockOSThread() // never unlocked, so that the next is another one
	done := make(chan string)
	if unix.Gettid() == unix.Getpid() {
		go func() { done <- thread() }()
		return <-done
	}
	return "other=true," + reach(away4, 443)()
}

// again tries another way in a child that os/exec makes by vfork
// (CLONE_VM|CLONE_VFORK).
func again(name string) way {
	return func() string {
		out, err := exec.Command(os.Args[0], "one", name).Output()
		if err != nil {
			return word(err)
		}
		return strings.TrimSpace(string(out))
	}
}

// nonblocking looks whether a connection that is under way tells what connect()
// did not.
func nonblocking() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_STREAM)
	s.did("connect", unix.Connect(fd, sockaddr(at(away4, 443))))
	_, err := unix.Getpeername(fd)
	s.did("peer", err)
	_, err = unix.Write(fd, []byte("escape"))
	s.did("write", err)
	return s.String()
}

func fastOpenTo(to netip.AddrPort) string {
	var s steps
	fd := socket(family(to), unix.SOCK_STREAM)
	err := unix.Sendto(fd, []byte("escape"), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL, sockaddr(to))
	if errors.Is(err, unix.EINPROGRESS) {
		err = finish(fd)
	}
	if s.did("sendto", err) {
		s = append(s, listenTo(fd))
	}
	return s.String()
}

func fastOpen(address string) way {
	return func() string { return fastOpenTo(at(address, 443)) }
}

func listenerByFastOpen() string { return fastOpenTo(at("127.0.0.1", 981)) }

func fastOpenConnect() string {
	return reachFrom(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1))
	}, at(away4, 443))
}

// bindListener tries to stand where the proxy listens.
func bindListener() string {
	var s steps
	for _, address := range []string{"127.0.0.1", "127.8.9.1", "198.18.255.1"} {
		fd := socket(unix.AF_INET, unix.SOCK_STREAM)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		s.did("bind", unix.Bind(fd, sockaddr(at(address, 981))))
	}
	return s.String()
}

// readAll reads until the end.
func readAll(r io.Reader) string {
	data, err := io.ReadAll(r)
	if err != nil {
		return word(err)
	}
	return string(data)
}

// unspec dissolves a connection, as connect(2) describes it.
func unspec(fd int) error {
	name := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	return call(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name)), unix.SizeofSockaddrInet4)
}
