// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is one frame that a [Tap] saw.
type Packet struct {
	Interface int // index
	Ethertype uint16
	Protocol  uint8 // of IP; 0 where it is not IP
	Src, Dst  netip.AddrPort
	Payload   []byte // from the network header on
}

func (p Packet) String() string {
	return fmt.Sprintf("if%d %#04x proto %d %v > %v, %d bytes", p.Interface, p.Ethertype, p.Protocol, p.Src, p.Dst, len(p.Payload))
}

// Tap sees every packet of every interface of a network namespace, in and out.
type Tap struct {
	t       testing.TB
	socket  *os.File
	own     func(Packet) bool
	packets []Packet
	done    chan struct{}
}

// Tap listens on all interfaces of the world. Not reported are loopback
// packets from or to a port that [World.Listen] opened, the kernel's own IPv6
// neighbour and multicast chatter, and what own returns true for; own may be
// nil.
func (w *World) Tap(own func(Packet) bool) *Tap {
	w.t.Helper()
	var tap *Tap
	w.must("tap", func() error {
		var err error
		tap, err = newTap(w.t, func(p Packet) bool {
			return w.isLocal(p) || isChatter(p) || own != nil && own(p)
		})
		return err
	})
	return tap
}

func (w *World) isLocal(p Packet) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.Src.Addr().IsLoopback() && p.Dst.Addr().IsLoopback() && (w.local[p.Src.Port()] || w.local[p.Dst.Port()])
}

// isChatter recognises what a Linux host sends of itself on a new link: MLD
// reports, router and neighbour solicitations (RFC 3810, RFC 4861).
func isChatter(p Packet) bool {
	return p.Protocol == unix.IPPROTO_ICMPV6 && p.Dst.Addr().IsMulticast()
}

func newTap(t testing.TB, own func(Packet) bool) (*Tap, error) {
	// The protocol is an int that holds a number in network byte order.
	const all = unix.ETH_P_ALL << 8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	// Room for a burst of 64 MiB, so that nothing is lost unseen.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("enlarge packet buffer: %w", err)
	}
	tap := &Tap{t: t, own: own, socket: os.NewFile(uintptr(fd), "tap"), done: make(chan struct{})}
	go tap.read()
	return tap, nil
}

func (tap *Tap) read() {
	defer close(tap.done)
	conn, err := tap.socket.SyscallConn()
	if err != nil {
		return
	}
	buffer := make([]byte, 1<<16)
	conn.Read(func(fd uintptr) bool {
		for {
			n, from, err := unix.Recvfrom(int(fd), buffer, 0)
			if err != nil {
				return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
			}
			tap.add(buffer[:n], from)
		}
	})
}

func (tap *Tap) add(data []byte, from unix.Sockaddr) {
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return
	}
	ethertype := link.Protocol>>8 | link.Protocol<<8
	p := parsePacket(ethertype, data)
	p.Interface = link.Ifindex
	if !tap.own(p) {
		tap.packets = append(tap.packets, p)
	}
}

// Stop closes the tap and returns what it saw. The test fails when the kernel
// had to drop a packet, since that one could have been the escape.
func (tap *Tap) Stop() []Packet {
	tap.t.Helper()
	// Packets are queued before the call that sent them returns, so what was
	// sent before Stop is in the queue: the reader drains it, then sees the
	// deadline.
	conn, err := tap.socket.SyscallConn()
	if err != nil {
		tap.t.Fatalf("rig: tap: %v", err)
	}
	tap.socket.SetReadDeadline(time.Now())
	<-tap.done
	rest := make([]byte, 1<<16)
	var drops uint32
	conn.Control(func(fd uintptr) {
		for {
			n, from, err := unix.Recvfrom(int(fd), rest, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				break
			}
			tap.add(rest[:n], from)
		}
		if stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			drops = stats.Drops
		}
	})
	tap.socket.Close()
	if drops > 0 {
		tap.t.Fatalf("rig: the tap lost %d packets", drops)
	}
	return tap.packets
}

func parsePacket(ethertype uint16, data []byte) Packet {
	p := Packet{Ethertype: ethertype, Payload: append([]byte(nil), data...)}
	var rest []byte
	var src, dst netip.Addr
	switch {
	case ethertype == unix.ETH_P_IP && len(data) >= 20 && len(data) >= int(data[0]&15)*4:
		p.Protocol = data[9]
		src, dst = netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
		rest = data[int(data[0]&15)*4:]
	case ethertype == unix.ETH_P_IPV6 && len(data) >= 40:
		p.Protocol, rest = skipHopByHop(data[6], data[40:])
		src, dst = netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
	default:
		return p
	}
	var from, to uint16
	if (p.Protocol == unix.IPPROTO_TCP || p.Protocol == unix.IPPROTO_UDP) && len(rest) >= 4 {
		from, to = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return p
}

// skipHopByHop steps over the one extension header that MLD carries.
func skipHopByHop(next uint8, data []byte) (uint8, []byte) {
	if next != 0 || len(data) < 8 || len(data) < int(data[1])*8+8 {
		return next, data
	}
	return data[0], data[int(data[1])*8+8:]
}
