// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// packetConn is what *net.UDPConn has and net.PacketConn has not.
type packetConn interface {
	SyscallConn() (syscall.RawConn, error)
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, to netip.AddrPort) (n, oobn int, err error)
}

// Packet is a UDP socket that can be served: it tells to which address each
// question came.
type Packet struct{ udp packetConn }

// NewPacket is for a socket that is bound to the unspecified address of the one
// family (v6: with IPV6_V6ONLY). A question that came before is not answered.
func NewPacket(conn net.PacketConn, v6 bool) (*Packet, error) {
	udp, ok := conn.(packetConn)
	if !ok {
		return nil, fmt.Errorf("prepare dns socket: %T is not one of UDP", conn)
	}
	if err := prepare(udp, v6); err != nil {
		return nil, fmt.Errorf("prepare dns socket: %w", err)
	}
	return &Packet{udp}, nil
}

// ServePacket answers on a UDP socket until it is closed, then returns nil. Each
// answer has as its source the address that was asked, which need not be
// configured on any interface.
func (s *Server) ServePacket(p *Packet) error {
	message, out, control := make([]byte, maxQuery), make([]byte, 0, maxReply), make([]byte, 128)
	for {
		n, controls, flags, from, err := p.udp.ReadMsgUDPAddrPort(message, control)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if passing(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("serve dns: %w", err)
		}
		if flags&unix.MSG_TRUNC != 0 {
			continue
		}
		source, ok := replySource(control[:controls])
		if !ok {
			continue
		}
		if reply := s.answer(out, message[:n], "udp"); reply != nil {
			// A lost answer is UDP's own risk: the client asks again.
			_, _, _ = p.udp.WriteMsgUDPAddrPort(reply, source, from)
		}
	}
}

// passing reports whether an error of a socket says something of the moment and
// not of the socket: it must not end the server.
func passing(err error) bool {
	for _, errno := range []error{
		unix.EINTR, unix.EAGAIN, unix.ECONNABORTED, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH,
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPERM,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// prepare asks for the destination of each datagram, and for the right to
// answer from an address no interface has: IPv4 allows that for any address
// that is routed as local, IPv6 does not.
func prepare(conn packetConn, v6 bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		if v6 {
			inner = errors.Join(
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1))
			return
		}
		inner = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
	})
	return errors.Join(err, inner)
}

// replySource turns the control message of a datagram into that of its answer.
// A datagram to a group has no address to answer from.
func replySource(control []byte) (source []byte, ok bool) {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return nil, false
		}
		control = rest
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: interface, local address, header's destination.
			to := [4]byte(data[8:12])
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: to}), !netip.AddrFrom4(to).IsMulticast()
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			to := [16]byte(data[:16])
			info := &unix.Inet6Pktinfo{Addr: to}
			if address := netip.AddrFrom16(to); address.IsLinkLocalUnicast() {
				info.Ifindex = binary.NativeEndian.Uint32(data[16:20])
			}
			return unix.PktInfo6(info), !netip.AddrFrom16(to).IsMulticast()
		}
	}
	return nil, false
}
