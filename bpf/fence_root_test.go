// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

var pairs = [][2]string{{peer4, pod4}, {peer6, pod6}}

func TestFenceLetsAnswersOut(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	for _, pair := range pairs {
		t.Run(pair[0], func(t *testing.T) {
			g := newGate(t)
			flow := tcpIn(pair[0], pair[1])
			g.is("answer to nobody", g.out(flow.reversed().with(syn|ack, 1, 1)), ReasonUnsolicited)
			g.passes("syn", g.in(flow.with(syn, 100, 0)))
			g.passes("answer", g.out(flow.reversed().with(syn|ack, 500, 101)))
			g.passes("third", g.in(flow.with(ack, 101, 501)))
			g.passes("data", g.out(flow.reversed().with(ack, 501, 101)))
			g.is("connection back", g.out(flow.reversed().with(syn, 9, 0)), ReasonUnsolicited)
			other := flow
			other.ports[1] = 81
			g.is("from another port", g.out(other.reversed().with(ack, 1, 1)), ReasonUnsolicited)
			other = flow
			other.ports[0]++
			g.is("to another port", g.out(other.reversed().with(ack, 1, 1)), ReasonUnsolicited)
			datagram := udpIn(pair[0], pair[1])
			datagram.ports = flow.ports
			g.is("of another protocol", g.out(datagram.reversed()), ReasonUnsolicited)
			g.passes("datagram", g.in(datagram))
			g.passes("its answer", g.out(datagram.reversed()))
		})
	}
}

// Only a SYN begins a flow: what else comes may answer what somebody else sent in the pod's name.
func TestOnlySynBeginsAFlow(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	flow := tcpIn(peer4, pod4)
	for _, flags := range []byte{0, ack, syn | ack, rst, fin, syn | rst, syn | fin} {
		g.passes("in", g.in(flow.with(flags, 1, 1)))
		g.is(fmt.Sprintf("flags %#x", flags), g.out(flow.reversed().with(ack, 1, 1)), ReasonUnsolicited)
	}
	flow.to = "10.9.0.3"
	g.passes("flooded by a bridge", g.in(flow.with(syn, 1, 0)))
	if n, err := count(g.flows()); n != 0 || err != nil {
		t.Errorf("%d flows noted: %v", n, err)
	}
}

func TestFenceAnswersPings(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	for _, test := range []struct {
		pair           [2]string
		protocol       byte
		request, reply byte
	}{
		{pairs[0], unix.IPPROTO_ICMP, 8, 0},
		{pairs[1], unix.IPPROTO_ICMPV6, 128, 129},
	} {
		g := newGate(t)
		ping := packet{from: test.pair[0], to: test.pair[1], protocol: test.protocol, body: icmp(test.request, 7<<16|1)}
		pong := packet{from: test.pair[1], to: test.pair[0], protocol: test.protocol, body: icmp(test.reply, 7<<16|1)}
		g.is("reply to nobody", g.out(pong), ReasonUnsolicited)
		g.passes("request", g.in(ping))
		g.passes("reply", g.out(pong))
		pong.body = icmp(test.reply, 8<<16|1)
		g.is("reply to another", g.out(pong), ReasonUnsolicited)
		pong.body = icmp(test.request, 7<<16|1)
		g.is("request out", g.out(pong), ReasonUnsolicited)
	}
}

// An error goes to whom it is about, about a packet of a noted flow.
func TestFenceLetsErrorsOut(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	for _, test := range []struct {
		pair        [2]string
		protocol    byte
		unreachable byte
		redirect    byte
	}{
		{pairs[0], unix.IPPROTO_ICMP, 3, 5},
		{pairs[1], unix.IPPROTO_ICMPV6, 1, 137},
	} {
		g := newGate(t)
		flow := udpIn(test.pair[0], test.pair[1])
		g.passes("datagram", g.in(flow))
		quote := flow.bytes()[14:]
		tell := func(kind byte, quote []byte) packet {
			return packet{from: test.pair[1], to: test.pair[0], protocol: test.protocol, body: icmp(kind, 0, quote...)}
		}
		g.passes("port unreachable", g.out(tell(test.unreachable, quote)))
		g.is("redirect", g.out(tell(test.redirect, quote)), ReasonUnsolicited)
		g.is("half a quote", g.out(tell(test.unreachable, quote[:18])), ReasonUnsolicited)
		flow.ports[0]++
		g.is("about another flow", g.out(tell(test.unreachable, flow.bytes()[14:])), ReasonUnsolicited)
		elsewhere := tell(test.unreachable, quote)
		elsewhere.to = map[string]string{peer4: "192.0.2.10", peer6: "2001:db8::10"}[test.pair[0]]
		g.is("to another", g.out(elsewhere), ReasonUnsolicited)
	}
}

// K6: what root in a pod can put on its link.
func TestFenceDropsTheRest(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	in4, in6 := udpIn(peer4, pod4), udpIn(peer6, pod6)
	g.passes("datagram", g.in(in4))
	g.passes("datagram", g.in(in6))
	out4, out6 := in4.reversed(), in6.reversed()
	edit := func(p packet, change func(*packet)) []byte { change(&p); return p.bytes() }
	for _, test := range []struct {
		name string
		data []byte
		want Reason
	}{
		{"another's address", edit(out4, func(p *packet) { p.from = "10.9.0.3" }), ReasonSpoofed},
		{"another's address in IPv6", edit(out6, func(p *packet) { p.from = "fd09::3" }), ReasonSpoofed},
		{"loopback's address", edit(out4, func(p *packet) { p.from = "127.0.0.1" }), ReasonSpoofed},
		{"no address", edit(out4, func(p *packet) { p.from = "0.0.0.0" }), ReasonSpoofed},
		{"first fragment", edit(out4, func(p *packet) { p.fragment = 0x2000 }), ReasonPacket},
		{"later fragment", edit(out4, func(p *packet) { p.fragment = 1 }), ReasonPacket},
		{"may not be fragmented", edit(out4, func(p *packet) { p.fragment = 0x4000 }), ReasonPass},
		{"options", edit(out4, func(p *packet) { p.options = []byte{131, 3, 4, 0} }), ReasonPacket},
		{"fragment header", edit(out6, func(p *packet) { p.next, p.extend = 44, []byte{udp, 0, 0, 1, 0, 0, 0, 1} }), ReasonUnsolicited},
		{"routing header", edit(out6, func(p *packet) { p.next, p.extend = 43, make([]byte, 8) }), ReasonUnsolicited},
		{"destination options", edit(out6, func(p *packet) { p.next, p.extend = 60, []byte{udp, 0, 1, 4, 0, 0, 0, 0} }), ReasonUnsolicited},
		{"hop-by-hop options", edit(out6, func(p *packet) { p.next, p.extend = 0, []byte{udp, 0, 5, 2, 0, 0, 1, 0} }), ReasonPacket},
		{"tunnel", edit(out4, func(p *packet) { p.protocol = unix.IPPROTO_IPIP }), ReasonUnsolicited},
		{"sctp", edit(out4, func(p *packet) { p.protocol = unix.IPPROTO_SCTP }), ReasonUnsolicited},
		{"udplite", edit(out4, func(p *packet) { p.protocol = unix.IPPROTO_UDPLITE }), ReasonUnsolicited},
		{"dns", edit(out4, func(p *packet) { p.to, p.ports = "8.8.8.8", [2]uint16{9, 53} }), ReasonUnsolicited},
		{"half a header", out4.bytes()[:14+22], ReasonUnsolicited},
		{"broadcast", edit(out4, func(p *packet) { p.to = "255.255.255.255" }), ReasonUnsolicited},
		{"multicast", edit(out4, func(p *packet) { p.to = "224.0.0.251" }), ReasonUnsolicited},
		{"igmp", edit(out4, func(p *packet) { p.to, p.protocol, p.options = "224.0.0.22", 2, []byte{0x94, 4, 0, 0} }), ReasonMembership},
		{"mld", edit(out6, func(p *packet) { p.to, p.next, p.extend = "ff02::16", 0, []byte{58, 0, 5, 2, 0, 0, 1, 0} }), ReasonMembership},
		{"version 5", edit(out4, func(p *packet) { p.options = make([]byte, 64) }), ReasonPacket},
		{"vlan", frame(unix.ETH_P_8021Q, append([]byte{0, 5, 8, 0}, out4.bytes()[14:]...)), ReasonFrame},
		{"qinq", frame(unix.ETH_P_8021AD, append([]byte{0, 5, 8, 0}, out4.bytes()[14:]...)), ReasonFrame},
		{"lldp", frame(0x88cc, make([]byte, 50)), ReasonFrame},
		{"mpls", frame(0x8847, make([]byte, 50)), ReasonFrame},
		{"pppoe", frame(0x8864, make([]byte, 50)), ReasonFrame},
		{"a frame of 802.3", frame(46, make([]byte, 50)), ReasonFrame},
		{"arp", arp(1, pod4, "10.9.0.1"), ReasonPass},
		{"arp reply", arp(2, pod4, "10.9.0.1"), ReasonPass},
		{"arp probe", arp(1, "0.0.0.0", pod4), ReasonPass},
		{"arp for the gateway", arp(2, "10.9.0.1", "10.9.0.7"), ReasonSpoofed},
		{"arp with a letter in it", arp(1, pod4, "10.9.0.1", []byte("dear neighbour, ")...), ReasonFrame},
		{"rarp", arp(3, pod4, "10.9.0.1"), ReasonFrame},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := &gate{t, g.object}
			g.is("from the pod", g.run(g.object.fence.FromPod, test.data), test.want)
		})
	}
}

// solicitation is a message of neighbour discovery, with a link-layer address.
func solicitation(kind byte, from, to, target string) packet {
	body := append(icmp(kind, 0), netip.MustParseAddr(target).AsSlice()...)
	return packet{
		from: from, to: to, protocol: unix.IPPROTO_ICMPV6, hops: 255,
		body: append(body, 1, 1, 2, 0, 0, 0, 0, 1),
	}
}

func TestFenceKnowsNeighbours(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	const (
		group     = "ff02::1:ff00:1"
		gateway   = "fd09::1"
		solicit   = 135
		advertise = 136
	)
	g := newGate(t)
	g.passes("solicitation", g.out(solicitation(solicit, pod6, group, gateway)))
	g.passes("is the address taken", g.out(solicitation(solicit, "::", group, pod6)))
	g.passes("from the link's address", g.out(solicitation(solicit, podLink, group, gateway)))
	g.is("from another's on the link", g.out(solicitation(solicit, "fe80::77", group, gateway)), ReasonSpoofed)
	g.is("where another is", g.out(solicitation(advertise, pod6, "ff02::1", gateway)), ReasonSpoofed)
	g.is("where a router is", g.out(solicitation(advertise, "fe80::1", "ff02::1", "fe80::1")), ReasonSpoofed)
	g.is("is another's address taken", g.out(solicitation(solicit, "::", group, gateway)), ReasonSpoofed)
	g.passes("to all", g.out(solicitation(advertise, pod6, "ff02::1", pod6)))
	g.passes("to a link-local address", g.out(solicitation(advertise, podLink, "fe80::1", podLink)))
	g.passes("router solicitation", g.out(packet{from: podLink, to: "ff02::2", protocol: unix.IPPROTO_ICMPV6, hops: 255, body: icmp(133, 0)}))
	g.is("from another", g.out(solicitation(solicit, gateway, group, pod6)), ReasonSpoofed)

	g.is("to a stranger", g.out(solicitation(solicit, pod6, gateway, gateway)), ReasonUnsolicited)
	far := solicitation(advertise, gateway, pod6, gateway)
	far.hops = 254
	g.passes("through a router", g.in(far))
	g.is("to who is behind a router", g.out(solicitation(solicit, pod6, gateway, gateway)), ReasonUnsolicited)
	g.passes("advertisement", g.in(solicitation(advertise, gateway, pod6, gateway)))
	g.passes("to a neighbour", g.out(solicitation(solicit, pod6, gateway, gateway)))
	g.age(59 * time.Minute)
	g.passes("to a neighbour", g.out(solicitation(solicit, pod6, gateway, gateway)))
	g.age(61 * time.Minute)
	g.is("to who was one", g.out(solicitation(solicit, pod6, gateway, gateway)), ReasonUnsolicited)

	long := solicitation(solicit, pod6, group, gateway)
	long.body = append(long.body, "dear neighbour, "...)
	g.is("a letter", g.out(long), ReasonPacket)
	near := solicitation(solicit, pod6, group, gateway)
	near.hops = 64
	g.is("few hops", g.out(near), ReasonPacket)
	for _, kind := range []byte{134, 137, 128, 130, 131, 132, 143, 1, 2, 3, 4} {
		p := solicitation(kind, podLink, "ff02::1", pod6)
		g.is(fmt.Sprint("type ", kind), g.out(p), ReasonUnsolicited)
	}
}

// A device whose session is gone, and a device that nobody admitted, let nothing out.
func TestFenceWithoutSessionIsClosed(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	flow := udpIn(peer4, pod4)
	g.passes("in", g.in(flow))
	require(t, g.object.RemoveSession(podCookie))
	for _, state := range []string{"session removed", "device forgotten"} {
		verdict, err := g.object.fence.FromPod.Run(&ebpf.RunOptions{Data: flow.reversed().bytes()})
		require(t, err)
		if verdict != 2 {
			t.Errorf("%s: verdict %d", state, verdict)
		}
		require(t, g.object.Unguard(podCookie))
	}
}

// What is dropped is told, without a process.
func TestFenceTells(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	reader, err := g.object.Denials()
	require(t, err)
	defer reader.Close()
	g.out(udpIn(peer4, pod4).reversed())
	denial, err := reader.Read()
	require(t, err)
	want := Denial{
		Netns: podCookie, Reason: ReasonUnsolicited, Proto: udp, Time: denial.Time,
		Dst: netip.MustParseAddrPort(peer4 + ":40000"),
	}
	if denial != want {
		t.Errorf("told %+v, want %+v", denial, want)
	}
}

func TestGuardNeedsASessionAndADevice(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	if err := g.object.Guard(podCookie+1, loopbackIndex, nil); err == nil {
		t.Error("guarded for nobody")
	}
	if err := g.object.Guard(podCookie, 0, nil); err == nil {
		t.Error("guarded no device")
	}
	if err := g.object.Guard(podCookie, math.MaxInt32, nil); err == nil {
		t.Error("guarded a device that is not there")
	}
	guards, err := g.object.node.guards()
	if err != nil || len(guards) != 0 {
		t.Errorf("pins %v: %v", guards, err)
	}
	if err := g.object.CheckGuard(podCookie, loopbackIndex); err == nil && check(fenceFeatures) == nil {
		t.Error("a guard that is not attached is none")
	}
	if err := g.object.CheckSession(podCookie + 1); err == nil {
		t.Error("a session that is not there is none")
	}
	require(t, g.object.CheckSession(podCookie))
	require(t, g.object.objects.Sessions.Delete(uint64(podCookie)))
	if err := g.object.CheckSession(podCookie); err == nil {
		t.Error("a session without an entry is none")
	}
}

// A bridge brings a port what is for whoever it saw there last: a pod speaks from its own hardware address.
func TestFenceKnowsItsHardware(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	flow := udpIn(peer4, pod4)
	g.passes("datagram", g.in(flow))
	own, other := []byte{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 2}
	from := func(hardware []byte) Reason {
		data := flow.reversed().bytes()
		copy(data[6:], hardware)
		return g.run(g.object.fence.FromPod, data)
	}
	g.passes("not known yet", from(other))
	require(t, g.object.admitDevice(podCookie, loopbackIndex, own))
	g.passes("its own", from(own))
	g.is("another's", from(other), ReasonSpoofed)
	g.is("another's, in the last byte", from([]byte{2, 0, 0, 0, 0, 0x81}), ReasonSpoofed)
}
