// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// R5: datagrams.
var udpWays = map[string]way{
	"udp_connect":    udpConnect(away4, 4433),
	"udp_connect6":   udpConnect(away6, 4433),
	"udp_connect46":  udpConnect("::ffff:"+away4, 4433),
	"udp_sendto":     udpSend(away4, 4433),
	"udp_sendto6":    udpSend(away6, 4433),
	"udp_mapped":     udpSend("::ffff:"+away4, 4433),
	"udp_quic":       udpSend(away4, 443),
	"udp_quic6":      udpSend(away6, 443),
	"udp_mcast":      udpSend("224.0.0.1", 9999),
	"udp_mcast6":     udpSend("ff02::1%lo", 9999),
	"udp_mdns":       udpSend("224.0.0.251", 5353),
	"udp_mdns6":      udpSend("ff02::fb%lo", 5353),
	"udp_llmnr":      udpSend("224.0.0.252", 5355),
	"udp_llmnr6":     udpSend("ff02::1:3%lo", 5355),
	"udp_broadcast":  udpBroadcast,
	"udp_meta":       udpSend("169.254.169.254", 80),
	"udp_host":       udpFact("udp"),
	"udp_address":    udpFact("udp_address"),
	"udp_sibling":    udpSend("198.18.255.1", siblingPort),
	"udp_sendmmsg":   udpSendmmsg,
	"udp_v4_on_v6":   udpOtherFamily,
	"udp_unspec":     udpUnspecName,
	"udp_cork":       udpCork,
	"udp_gso":        udpGSO,
	"udp_splice":     udpSplice,
	"udp_zerocopy":   udpZeroCopy,
	"udp_write":      udpWrite,
	"udp_move":       udpMove,
	"udp_pktinfo":    udpPacketInfo,
	"udp_pktinfo6":   udpPacketInfo6,
	"udp_device":     udpDevice,
	"udp_route":      udpSourceRoute,
	"udp_dns_junk":   udpJunkToResolver,
	"udp_encap":      udpEncapsulate,
	"udp_reuse_stub": udpBesideStub,
}

var payload = []byte("escape")

func udpSendTo(prepare func(fd int, s *steps), to netip.AddrPort) string {
	var s steps
	fd := socket(family(to), unix.SOCK_DGRAM)
	if prepare != nil {
		prepare(fd, &s)
	}
	s.did("sendto", unix.Sendto(fd, payload, 0, sockaddr(to)))
	return s.String()
}

func udpSend(address string, port uint16) way {
	return func() string { return udpSendTo(nil, at(address, port)) }
}

func udpFact(key string) way {
	return func() string { return udpSendTo(nil, netip.MustParseAddrPort(fact(key))) }
}

func udpConnected(s *steps, address string, port uint16) int {
	to := at(address, port)
	fd := socket(family(to), unix.SOCK_DGRAM)
	s.did("connect", unix.Connect(fd, sockaddr(to)))
	return fd
}

func udpConnect(address string, port uint16) way {
	return func() string {
		var s steps
		fd := udpConnected(&s, address, port)
		_, err := unix.SendmsgN(fd, payload, nil, nil, 0)
		s.did("send", err)
		return s.String()
	}
}

func udpWrite() string {
	var s steps
	fd := udpConnected(&s, away4, 4433)
	_, err := unix.Write(fd, payload)
	s.did("write", err)
	return s.String()
}

// udpMove connects where sending is let through, then moves on.
func udpMove() string {
	var s steps
	fd := udpConnected(&s, "127.0.0.1", 53)
	s.did("again", unix.Connect(fd, sockaddr(at(away4, 4433))))
	_, err := unix.Write(fd, payload)
	s.did("write", err)
	s.did("sendto", unix.Sendto(fd, payload, 0, sockaddr(at(away4, 4433))))
	return s.String()
}

func udpBroadcast() string {
	return udpSendTo(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	}, at("255.255.255.255", 9))
}

// udpSendmmsg hides a datagram behind one that is let through.
func udpSendmmsg() string {
	type mmsghdr struct {
		header unix.Msghdr
		length uint32
		_      uint32
	}
	vector := unix.Iovec{Base: &payload[0]}
	vector.SetLen(len(payload))
	names := [2]unix.RawSockaddrInet4{raw4(at("127.0.0.1", 9)), raw4(at(away4, 4433))}
	var messages [2]mmsghdr
	for i := range messages {
		messages[i].header = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&names[i])), Namelen: unix.SizeofSockaddrInet4, Iov: &vector}
		messages[i].header.SetIovlen(1)
	}
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	var s steps
	for range messages {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages)), 2, 0, 0, 0)
		if errno == 0 {
			s = append(s, "sent="+string('0'+rune(sent)))
		} else {
			s.did("sendmmsg", errno)
		}
		messages[0] = messages[1]
	}
	return s.String()
}

func raw4(to netip.AddrPort) unix.RawSockaddrInet4 {
	port := to.Port()
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: to.Addr().As4()}
}

// sendRaw sends to a name whose family is not the socket's.
func sendRaw(fd int, name unix.RawSockaddrInet4) error {
	return call(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&payload[0])), uintptr(len(payload)), 0,
		uintptr(unsafe.Pointer(&name)), unix.SizeofSockaddrInet4)
}

func udpOtherFamily() string {
	var s steps
	s.did("sendto", sendRaw(socket(unix.AF_INET6, unix.SOCK_DGRAM), raw4(at(away4, 4433))))
	return s.String()
}

func udpUnspecName() string {
	name := raw4(at(away4, 4433))
	name.Family = unix.AF_UNSPEC
	var s steps
	s.did("sendto", sendRaw(socket(unix.AF_INET, unix.SOCK_DGRAM), name))
	return s.String()
}

func udpCork() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	s.did("more", unix.Sendto(fd, payload, unix.MSG_MORE, sockaddr(at(away4, 4433))))
	s.did("end", unix.Sendto(fd, payload, 0, sockaddr(at(away4, 4433))))
	fd = socket(unix.AF_INET, unix.SOCK_DGRAM)
	s.did("first", unix.Sendto(fd, payload, unix.MSG_MORE, sockaddr(at("127.0.0.1", 9))))
	s.did("second", unix.Sendto(fd, payload, 0, sockaddr(at(away4, 4433))))
	return s.String()
}

func udpGSO() string {
	return udpSendTo(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 4))
	}, at(away4, 4433))
}

func udpEncapsulate() string {
	return udpSendTo(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_ENCAP, unix.UDP_ENCAP_ESPINUDP))
	}, at(away4, 4500))
}

func udpSplice() string {
	var s steps
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return word(err)
	}
	unix.Write(pipe[1], payload)
	fd := udpConnected(&s, away4, 4433)
	_, err := unix.Splice(pipe[0], nil, fd, nil, len(payload), 0)
	s.did("splice", err)
	return s.String()
}

func udpZeroCopy() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	s.did("option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1))
	s.did("sendto", unix.Sendto(fd, payload, unix.MSG_ZEROCOPY, sockaddr(at(away4, 4433))))
	return s.String()
}

// udpPacketInfo names the way out and the source with the datagram.
func udpPacketInfo() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	info := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 2, Spec_dst: [4]byte{203, 0, 113, 2}})
	_, err := unix.SendmsgN(fd, payload, info, sockaddr(at(away4, 4433)), 0)
	s.did("sendmsg", err)
	return s.String()
}

func udpPacketInfo6() string {
	var s steps
	fd := socket(unix.AF_INET6, unix.SOCK_DGRAM)
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 1})
	_, err := unix.SendmsgN(fd, payload, info, sockaddr(at(away6, 4433)), 0)
	s.did("sendmsg", err)
	return s.String()
}

func udpDevice() string {
	return udpSendTo(func(fd int, s *steps) { s.did("device", unix.BindToDevice(fd, "outside0")) }, at(away4, 4433))
}

func udpSourceRoute() string {
	return udpSendTo(func(fd int, s *steps) {
		s.did("option", unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, loose))
	}, at("127.0.0.1", 53))
}

// udpJunkToResolver sends to port 53 what is no question: it arrives at the
// stub and nowhere else, and is not answered.
func udpJunkToResolver() string {
	var s steps
	fd := udpConnected(&s, away4, 53)
	_, err := unix.Write(fd, payload)
	s.did("write", err)
	if !ready(fd, unix.POLLIN) {
		return s.String() + ",silent"
	}
	_, err = unix.Read(fd, make([]byte, 512))
	s.did("read", err)
	return s.String()
}

// udpBesideStub tries to take questions from the stub.
func udpBesideStub() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	err := unix.Bind(fd, sockaddr(at("127.0.0.1", 53)))
	s.did("bind", err)
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		s.did("listen", nil)
	}
	return s.String()
}
