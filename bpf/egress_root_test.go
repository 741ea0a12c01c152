// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// packet4 has its header's first byte and fragment field as given; the port is that of TCP and UDP alike.
func packet4(first byte, fragment uint16, protocol byte, port uint16) []byte {
	ip := make([]byte, 20)
	ip[0], ip[9] = first, protocol
	binary.BigEndian.PutUint16(ip[6:], fragment)
	copy(ip[16:], []byte{203, 0, 113, 1})
	return frame(unix.ETH_P_IP, append(binary.BigEndian.AppendUint16(append(ip, 0, 9), port), make([]byte, 16)...))
}

func packet6(next byte, port uint16) []byte {
	ip := make([]byte, 40)
	ip[0], ip[6] = 0x60, next
	copy(ip[24:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	return frame(unix.ETH_P_IPV6, append(binary.BigEndian.AppendUint16(append(ip, 0, 9), port), make([]byte, 16)...))
}

// jumbo6 is what the kernel makes of a batch of TCP segments that IPv6's length has no room for.
func jumbo6(next, option byte) []byte {
	packet := packet6(0, 443)
	at := 14 + 40
	return slices.Concat(packet[:at], []byte{next, 0, option, 4, 0, 1, 0, 0}, packet[at:])
}

// The packets here belong to a socket that no session made, on lo: streams pass, since connect judged them, and nothing
// else does. TestEverythingElseIsRefused of test/redirect has the rest, with sockets of a session.
func TestEgress(t *testing.T) {
	for _, test := range []struct {
		name   string
		packet []byte
		want   Reason
	}{
		{"tcp", packet4(0x45, 0, unix.IPPROTO_TCP, 443), ReasonPass},
		{"tcp6", packet6(unix.IPPROTO_TCP, 443), ReasonPass},
		{"tcp that may not be fragmented", packet4(0x45, 0x4000, unix.IPPROTO_TCP, 443), ReasonPass},
		{"tcp with options", packet4(0x46, 0, unix.IPPROTO_TCP, 443), ReasonPacket},
		{"tcp fragment", packet4(0x45, 1, unix.IPPROTO_TCP, 443), ReasonPacket},
		{"tcp of version 5", packet4(0x55, 0, unix.IPPROTO_TCP, 443), ReasonPacket},
		{"tcp6 behind a routing header", packet6(unix.IPPROTO_ROUTING, 443), ReasonPacket},
		{"tcp6 of more than 64 KiB", jumbo6(unix.IPPROTO_TCP, 0xc2), ReasonPass},
		{"udp6 behind a jumbo header", jumbo6(unix.IPPROTO_UDP, 0xc2), ReasonPacket},
		{"tcp6 behind another hop-by-hop option", jumbo6(unix.IPPROTO_TCP, 0x05), ReasonPacket},
		{"icmp", packet4(0x45, 0, unix.IPPROTO_ICMP, 0), ReasonPacket},
		{"icmp6", packet6(unix.IPPROTO_ICMPV6, 0), ReasonPacket},
		{"sctp", packet4(0x45, 0, unix.IPPROTO_SCTP, 0), ReasonPacket},
		{"arp", frame(unix.ETH_P_ARP, make([]byte, 40)), ReasonPacket},
		{"udp", packet4(0x45, 0, unix.IPPROTO_UDP, 443), ReasonSession},
		{"udp to port 53", packet4(0x45, 0, unix.IPPROTO_UDP, 53), ReasonSession},
		{"udp6", packet6(unix.IPPROTO_UDP, 53), ReasonSession},
		{"half a udp header", packet4(0x45, 0, unix.IPPROTO_UDP, 53)[:14+22], ReasonPacket},
	} {
		t.Run(test.name, func(t *testing.T) {
			object, err := Load(Options{})
			require(t, err)
			defer object.Close()
			verdict, err := object.objects.Egress.Run(&ebpf.RunOptions{Data: test.packet})
			require(t, err)
			counts, err := object.Counts(0)
			require(t, err)
			if (verdict == 1) != (test.want == ReasonPass) {
				t.Errorf("verdict %d, want reason %v", verdict, test.want)
			}
			if test.want != ReasonPass && counts[test.want] != 1 {
				t.Errorf("counts %v, want 1 of %v", counts, test.want)
			}
		})
	}
}
