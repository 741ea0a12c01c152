// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// TCP's flags.
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

// packet is what a frame's bytes are made of. Zero fields are the usual ones.
type packet struct {
	from, to string // of one family
	protocol byte
	ports    [2]uint16 // of TCP and UDP
	flags    byte      // of TCP
	numbers  [2]uint32 // sequence and acknowledgement
	hops     byte
	body     []byte // instead of TCP's or UDP's header

	fragment uint16 // the field of IPv4's header
	options  []byte // of IPv4
	next     byte   // IPv6: header before the body's, whose bytes are extension
	extend   []byte
}

func (p packet) bytes() []byte {
	from, to := netip.MustParseAddr(p.from), netip.MustParseAddr(p.to)
	if p.hops == 0 {
		p.hops = 64
	}
	body := p.body
	if body == nil {
		body = p.transport()
	}
	if from.Is4() {
		return frame(unix.ETH_P_IP, slices.Concat(p.header4(from, to, len(body)), body))
	}
	return frame(unix.ETH_P_IPV6, slices.Concat(p.header6(from, to, len(body)), p.extend, body))
}

func (p packet) header4(from, to netip.Addr, length int) []byte {
	ip := slices.Concat(make([]byte, 20), p.options)
	ip[0] = 0x40 | byte(len(ip)/4)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
	binary.BigEndian.PutUint16(ip[6:], p.fragment)
	ip[8], ip[9] = p.hops, p.protocol
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return ip
}

// checksum is the internet's (RFC 1071), of an even number of bytes.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(data[i])<<8 | uint32(data[i+1])
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}

func (p packet) header6(from, to netip.Addr, length int) []byte {
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, p.protocol, p.hops
	if p.extend != nil {
		ip[6] = p.next
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(p.extend)+length))
	copy(ip[8:], from.AsSlice())
	copy(ip[24:], to.AsSlice())
	return ip
}

func (p packet) transport() []byte {
	b := binary.BigEndian
	header := b.AppendUint16(b.AppendUint16(nil, p.ports[0]), p.ports[1])
	if p.protocol != unix.IPPROTO_TCP {
		return b.AppendUint32(header, 8<<16)
	}
	header = b.AppendUint32(b.AppendUint32(header, p.numbers[0]), p.numbers[1])
	return append(header, 5<<4, p.flags, 0xff, 0xff, 0, 0, 0, 0)
}

// reversed is a packet the other way.
func (p packet) reversed() packet {
	p.from, p.to = p.to, p.from
	p.ports[0], p.ports[1] = p.ports[1], p.ports[0]
	return p
}

func (p packet) with(flags byte, sequence, acknowledgement uint32) packet {
	p.flags, p.numbers = flags, [2]uint32{sequence, acknowledgement}
	return p
}

// icmp is an ICMP message of either family; word is an echo's identifier and number.
func icmp(kind byte, word uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind, 0, 0, 0}, word), rest...)
}

// frame puts an Ethernet header in front, which BPF_PROG_RUN takes off again for cgroup_skb.
func frame(ethertype uint16, packet []byte) []byte {
	return slices.Concat(binary.BigEndian.AppendUint16(make([]byte, 12), ethertype), packet)
}

// arp asks or answers (operation 1, 2) for an address.
func arp(operation byte, sender, target string, padding ...byte) []byte {
	message := []byte{0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1}
	message = append(message, netip.MustParseAddr(sender).AsSlice()...)
	message = append(message, 0, 0, 0, 0, 0, 0)
	message = append(message, netip.MustParseAddr(target).AsSlice()...)
	return frame(unix.ETH_P_ARP, append(message, padding...))
}
