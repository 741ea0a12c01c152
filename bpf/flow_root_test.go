// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestFlowsEnd(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	opened := func(t *testing.T) (*gate, packet, packet) {
		g := newGate(t)
		flow := tcpIn(peer4, pod4)
		g.passes("syn", g.in(flow.with(syn, 100, 0)))
		g.passes("answer", g.out(flow.reversed().with(syn|ack, 500, 101)))
		return g, flow, flow.reversed()
	}
	t.Run("half open", func(t *testing.T) {
		g, _, answer := opened(t)
		g.age(59 * time.Second)
		g.passes("answer again", g.out(answer.with(syn|ack, 500, 101)))
		g.age(61 * time.Second)
		g.is("answer too late", g.out(answer.with(syn|ack, 500, 101)), ReasonUnsolicited)
	})
	t.Run("forged handshake", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("guess", g.in(flow.with(ack, 101, 500)))
		g.passes("guess", g.in(flow.with(ack, 101, 501+65536)))
		g.age(61 * time.Second)
		g.is("data", g.out(answer.with(ack, 501, 101)), ReasonUnsolicited)
	})
	t.Run("established, under keep-alive", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("third", g.in(flow.with(ack, 101, 501)))
		for range 5 {
			g.age(2*time.Hour + 11*time.Minute)
			g.passes("probe", g.out(answer.with(ack, 500, 101)))
			g.age(2*time.Hour + 11*time.Minute)
			g.passes("probe", g.in(flow.with(ack, 100, 501)))
		}
		g.age(3*time.Hour + time.Second)
		g.is("three hours without one", g.out(answer.with(ack, 501, 101)), ReasonUnsolicited)
	})
	t.Run("one side closed", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("third", g.in(flow.with(ack, 101, 501)))
		g.passes("fin", g.in(flow.with(fin|ack, 101, 501)))
		g.age(2 * time.Hour)
		g.passes("long answer", g.out(answer.with(ack, 501, 102)))
		g.passes("fin", g.out(answer.with(fin|ack, 501, 102)))
		g.passes("last", g.in(flow.with(ack, 102, 502)))
		g.age(6 * time.Second)
		g.is("afterwards", g.out(answer.with(ack, 502, 102)), ReasonUnsolicited)
		g.passes("the port again", g.in(flow.with(syn, 900, 0)))
		g.passes("answer", g.out(answer.with(syn|ack, 700, 901)))
	})
	t.Run("reset", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("third", g.in(flow.with(ack, 101, 501)))
		g.passes("reset", g.in(flow.with(rst, 101, 0)))
		g.passes("what crossed it", g.out(answer.with(ack, 501, 101)))
		g.age(6 * time.Second)
		g.is("afterwards", g.out(answer.with(ack, 501, 101)), ReasonUnsolicited)
	})
	t.Run("forged reset", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("third", g.in(flow.with(ack, 101, 501)))
		g.passes("reset", g.in(flow.with(rst, 77, 0)))
		g.age(2 * time.Second)
		g.passes("the pod goes on", g.out(answer.with(ack, 501, 101)))
		g.age(2 * time.Hour)
		g.passes("and on", g.out(answer.with(ack, 501, 101)))
	})
	t.Run("forged syn", func(t *testing.T) {
		g, flow, answer := opened(t)
		g.passes("third", g.in(flow.with(ack, 101, 501)))
		g.passes("syn", g.in(flow.with(syn, 5, 0)))
		g.age(2 * time.Hour)
		g.passes("the pod goes on", g.out(answer.with(ack, 501, 101)))
	})
	t.Run("datagrams", func(t *testing.T) {
		g := newGate(t)
		flow := udpIn(peer4, pod4)
		g.passes("in", g.in(flow))
		for range 3 {
			g.age(59 * time.Second)
			g.passes("answer", g.out(flow.reversed()))
		}
		g.age(61 * time.Second)
		g.is("late", g.out(flow.reversed()), ReasonUnsolicited)
	})
}

// Full, the table has no room for new flows: they are dropped before the pod sees them. Those that are noted stand, and
// those that are over make room, though not twice within a second.
func TestFullTableRefusesNewFlows(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	g := newGate(t)
	standing := tcpIn(peer4, pod4)
	g.passes("syn", g.in(standing.with(syn, 100, 0)))
	g.passes("answer", g.out(standing.reversed().with(syn|ack, 500, 101)))
	g.passes("third", g.in(standing.with(ack, 101, 501)))
	flows := g.flows()
	room := int(flows.MaxEntries()) - 1
	fill(t, flows, room)
	next := udpIn(peer4, pod4)
	g.is("one too many", g.in(next), ReasonFlows)
	g.is("its answer", g.out(next.reversed()), ReasonUnsolicited)
	g.passes("standing", g.out(standing.reversed().with(ack, 501, 101)))
	g.age(61 * time.Second)
	g.swept(boottime(t))
	g.is("within the second", g.in(next), ReasonFlows)
	g.swept(boottime(t) - uint64(time.Second))
	g.passes("after it", g.in(next))
	g.passes("standing", g.out(standing.reversed().with(ack, 501, 101)))
	if n, err := count(flows); n != 2 || err != nil {
		t.Errorf("%d flows after the sweep, want 2: %v", n, err)
	}
}

// swept says when the table was swept last.
func (g *gate) swept(at uint64) {
	g.t.Helper()
	require(g.t, g.object.fence.Guards.Put(uint32(loopbackIndex), &fenceGuard{Netns: podCookie, Swept: at}))
}

// boottime is the clock of package bpf's C.
func boottime(t testing.TB) uint64 {
	t.Helper()
	var now unix.Timespec
	require(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	return uint64(now.Nano())
}

// fill stores datagram flows that were seen now.
func fill(t *testing.T, flows *ebpf.Map, n int) {
	t.Helper()
	now := boottime(t)
	peers, inbounds := make([]redirectPeer, n), make([]redirectInbound, n)
	for i := range peers {
		peers[i] = redirectPeer{Address: encodeAddress(netip.MustParseAddr(peer6)), Port: uint16(i), OwnPort: 9, Protocol: udp}
		inbounds[i].Seen = now
	}
	_, err := flows.BatchUpdate(peers, inbounds, nil)
	require(t, err)
}
