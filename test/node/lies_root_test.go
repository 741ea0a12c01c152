// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lie is something that root in a container does to its network. What it sends
// carries six bytes that nobody else sends.
type lie struct {
	name string
	send func(p *pod, mark []byte) error
}

// The container's addresses, and those of nobody.
var (
	liarIP    = netip.MustParseAddr("10.99.0.2")
	liarIP6   = netip.MustParseAddr("fe80::2")
	nobody    = netip.MustParseAddr("10.99.0.50")
	router6   = netip.MustParseAddr("fe80::1")
	allNodes  = netip.MustParseAddr("ff02::1")
	broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	nobodyMAC = []byte{0x02, 0, 0, 0, 0, 0x50}
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// lies is what K6 names that sockets alone do not do.
func lies() []lie {
	node, to := ip(nodeAddress), ip(strangerHost)
	icmp6 := func(kind byte, body ...[]byte) func([]byte) []byte {
		return func(mark []byte) []byte {
			return ipv6(liarIP6, allNodes, unix.IPPROTO_ICMPV6, icmpv6(liarIP6, allNodes, kind, append(slices.Concat(body...), mark...)))
		}
	}
	option := []byte{2, 1} // target link-layer address; the mark is the address
	behind := func(header byte, extension []byte) func([]byte) []byte {
		return func(mark []byte) []byte { return ipv6(liarIP6, allNodes, header, append(extension, udp(mark)...)) }
	}
	return []lie{
		{"ARP, the node's address", frame(unix.ETH_P_ARP, func(m []byte) []byte { return arp(2, m, node, to) })},
		{"ARP, nobody's address", frame(unix.ETH_P_ARP, func(m []byte) []byte { return arp(1, m, nobody, to) })},
		{"ARP, the stranger's own", frame(unix.ETH_P_ARP, func(m []byte) []byte { return arp(2, m, to, to) })},
		{"ARP, padded", frame(unix.ETH_P_ARP, func(m []byte) []byte { return append(arp(1, nobodyMAC, liarIP, to), m...) })},
		{"another's hardware", func(p *pod, m []byte) error {
			return sendFrom(m, p.Interface, unix.ETH_P_ARP, arp(1, nobodyMAC, liarIP, to))
		}},
		{"router advertisement", frame(unix.ETH_P_IPV6, icmp6(134, []byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}))},
		{"redirect", frame(unix.ETH_P_IPV6, icmp6(137, make([]byte, 4), router6.AsSlice(), router6.AsSlice(), option))},
		{"neighbour discovery, a long one", frame(unix.ETH_P_IPV6, icmp6(135, make([]byte, 4), router6.AsSlice(), []byte{14, 2, 0, 0, 0, 0, 0, 0, 0, 0}))},
		{"neighbour discovery, of the router's", frame(unix.ETH_P_IPV6, func(m []byte) []byte {
			return ipv6(router6, allNodes, unix.IPPROTO_ICMPV6, icmpv6(router6, allNodes, 136, slices.Concat([]byte{0x20, 0, 0, 0}, router6.AsSlice(), option, m)))
		})},
		{"neighbour discovery, where the router is", frame(unix.ETH_P_IPV6, icmp6(136, []byte{0x20, 0, 0, 0}, router6.AsSlice(), option))},
		{"IPv6 UDP", frame(unix.ETH_P_IPV6, behind(unix.IPPROTO_UDP, nil))},
		{"IPv6, hop by hop", frame(unix.ETH_P_IPV6, behind(unix.IPPROTO_HOPOPTS, []byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}))},
		{"IPv6, destination options", frame(unix.ETH_P_IPV6, behind(unix.IPPROTO_DSTOPTS, []byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}))},
		{"IPv6, routed", frame(unix.ETH_P_IPV6, behind(unix.IPPROTO_ROUTING, []byte{unix.IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 0}))},
		{"IPv6, a fragment", frame(unix.ETH_P_IPV6, behind(unix.IPPROTO_FRAGMENT, []byte{unix.IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 7}))},
		{"IPv6 in IPv4", frame(unix.ETH_P_IP, func(m []byte) []byte {
			return ipv4(liarIP, to, unix.IPPROTO_IPV6, ipv6(liarIP6, allNodes, unix.IPPROTO_UDP, udp(m)))
		})},
		{"IPv4 in IPv4", frame(unix.ETH_P_IP, func(m []byte) []byte {
			return ipv4(liarIP, to, unix.IPPROTO_IPIP, ipv4(liarIP, to, unix.IPPROTO_UDP, udp(m)))
		})},
		{"GRE", frame(unix.ETH_P_IP, func(m []byte) []byte {
			return ipv4(liarIP, to, unix.IPPROTO_GRE, append([]byte{0, 0, 8, 0}, ipv4(liarIP, to, unix.IPPROTO_UDP, udp(m))...))
		})},
		{"SCTP", frame(unix.ETH_P_IP, func(m []byte) []byte { return ipv4(liarIP, to, unix.IPPROTO_SCTP, append(make([]byte, 12), m...)) })},
		{"VLAN in VLAN", frame(unix.ETH_P_8021AD, func(m []byte) []byte {
			return slices.Concat([]byte{0, 5, 0x81, 0, 0, 6, 8, 0}, ipv4(liarIP, to, unix.IPPROTO_UDP, udp(m)))
		})},
		{"a raw socket", rawSocket},
		{"another address", otherAddress},
		{"a macvlan on the link", throughMacvlan},
		{"forwarding", forward},
		{"another hardware address", otherHardware},
	}
}

// K6: frames that lie about who sends them, that hide in others, and what the
// container's own kernel sends when root inside has set it up to. Each is heard
// from a container that is nobody's; none from one that is held.
func TestK6LiesAreNotHeard(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	free, held := b.newPod("web"), b.newPod("web")
	free.plugLiar()
	free.answers(out) // its link passes frames by now
	for i, name := range out.marked(free) {
		if name == "" {
			t.Errorf("%s: not heard from a container that nobody holds", lies()[i].name)
		}
	}
	free.remove()
	held.plugLiar()
	held.attach()
	held.swaps()
	for _, name := range out.marked(held) {
		if name != "" {
			t.Errorf("%s: heard", name)
		}
	}
	held.detach()
	b.isEmpty()
}

// plugLiar gives the container both its addresses.
func (p *pod) plugLiar() {
	p.Helper()
	p.plug(liarIP.String())
	err := p.do(func() error {
		link, err := netlink.LinkByName(p.Interface)
		if err != nil {
			return err
		}
		return addAddress(link, liarIP6.String()+"/64")
	})
	if err != nil {
		p.Fatal(err)
	}
}

// marked lets a container send every lie, and names those that arrive, each in
// its place.
func (s *stranger) marked(p *pod) []string {
	s.Helper()
	all := lies()
	for i, l := range all {
		if err := p.do(func() error { return l.send(p, mark(i)) }); err != nil {
			s.Logf("%s: %v", l.name, err) // refused at the call
		}
	}
	heard := make([]string, len(all))
	for i, arrived := range s.arrived(len(all)) {
		if arrived {
			heard[i] = all[i].name
		}
	}
	return heard
}

// arrived tells which of so many marks were in a frame.
func (s *stranger) arrived(marks int) []bool {
	s.Helper()
	arrived := make([]bool, marks)
	buffer := make([]byte, 9000)
	for {
		n, _, err := unix.Recvfrom(s.tap, buffer, 0)
		if err == unix.EAGAIN {
			return arrived
		}
		if err != nil {
			s.Fatalf("tap: %v", err)
		}
		for i := range arrived {
			arrived[i] = arrived[i] || bytes.Contains(buffer[:n], mark(i))
		}
	}
}

// mark could be a hardware address, of those that are nobody's.
func mark(i int) []byte { return []byte{0x06, 0x4c, 0x49, 0x45, 0x53, byte(i)} }

// frame sends one made of the mark to everybody on the link.
func frame(ethertype uint16, make func(mark []byte) []byte) func(*pod, []byte) error {
	return func(p *pod, mark []byte) error { return sendFrame(p.Interface, nil, ethertype, make(mark)) }
}

// sendFrame sends from the link's hardware address, to everybody, where none is
// given.
func sendFrame(name string, to []byte, ethertype uint16, payload []byte) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if to == nil {
		to = broadcast
	}
	return sendAs(link, to, link.Attrs().HardwareAddr, ethertype, payload)
}

// sendFrom sends to everybody from somebody's hardware address.
func sendFrom(from []byte, name string, ethertype uint16, payload []byte) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return sendAs(link, broadcast, from, ethertype, payload)
}

func sendAs(link netlink.Link, to, from []byte, ethertype uint16, payload []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	data := binary.BigEndian.AppendUint16(slices.Concat(to, from), ethertype)
	return unix.Sendto(fd, append(data, payload...), 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
}

func arp(operation byte, hardware []byte, sender, target netip.Addr) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, operation}, hardware, sender.AsSlice(), broadcast, target.AsSlice())
}

func ipv4(from, to netip.Addr, protocol byte, payload []byte) []byte {
	header := slices.Concat([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}, from.AsSlice(), to.AsSlice())
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(payload)))
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(header, payload...)
}

func ipv6(from, to netip.Addr, next byte, payload []byte) []byte {
	header := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
	return slices.Concat(header, from.AsSlice(), to.AsSlice(), payload)
}

func icmpv6(from, to netip.Addr, kind byte, body []byte) []byte {
	message := append([]byte{kind, 0, 0, 0}, body...)
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6}, message)
	binary.BigEndian.PutUint16(message[2:], checksum(pseudo))
	return message
}

// udp has no checksum, which IPv4 allows and a tap does not mind.
func udp(payload []byte) []byte {
	header := []byte{0x30, 0x39, 0, 9, 0, byte(8 + len(payload)), 0, 0}
	return append(header, payload...)
}

// checksum is RFC 1071's.
func checksum(data []byte) uint16 {
	sum := uint32(0)
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// rawSocket lets the kernel make the Ethernet header.
func rawSocket(_ *pod, mark []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := ip(strangerHost)
	return unix.Sendto(fd, ipv4(liarIP, to, unix.IPPROTO_UDP, udp(mark)), 0, &unix.SockaddrInet4{Addr: to.As4()})
}

// send is a datagram from a socket that is bound to an address.
func send(from string, mark []byte) error {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("udp4", net.JoinHostPort(strangerHost, "9"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(mark)
	return err
}

func addAddress(link netlink.Link, address string) error {
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, a)
}

// otherAddress needs no neighbour: it is told where the stranger is.
func otherAddress(p *pod, mark []byte) error {
	link, err := netlink.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	return errors.Join(addAddress(link, "10.99.0.78/24"), knowStranger(link), send("10.99.0.78", mark))
}

func knowStranger(link netlink.Link) error {
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: net.ParseIP(strangerHost), HardwareAddr: broadcast,
	})
}

func throughMacvlan(p *pod, mark []byte) error {
	link, err := netlink.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	lying := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "lying0", ParentIndex: link.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := netlink.LinkAdd(lying); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lying); err != nil {
		return err
	}
	return sendFrame("lying0", nil, unix.ETH_P_IP, ipv4(liarIP, ip(strangerHost), unix.IPPROTO_UDP, udp(mark)))
}

// forward makes the container a router of what comes out of a link of its own.
func forward(p *pod, mark []byte) error {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lying1"}, PeerName: "lying2"}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	for _, name := range []string{"lying1", "lying2"} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return err
		}
	}
	in, err := netlink.LinkByName("lying1")
	if err != nil {
		return err
	}
	out, err := netlink.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	from := ip("192.0.2.2")
	err = errors.Join(addAddress(in, "192.0.2.1/24"), knowStranger(out), os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	if err != nil {
		return err
	}
	return sendFrame("lying2", in.Attrs().HardwareAddr, unix.ETH_P_IP, ipv4(from, ip(strangerHost), unix.IPPROTO_UDP, udp(mark)))
}

// otherHardware is last: what was heard of the container knows it no more.
func otherHardware(p *pod, mark []byte) error {
	link, err := netlink.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, nobodyMAC); err != nil {
		return fmt.Errorf("set hardware address: %w", err)
	}
	return errors.Join(knowStranger(link), send(liarIP.String(), mark))
}
