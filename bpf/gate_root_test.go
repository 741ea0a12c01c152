// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// loopbackIndex is the device that BPF_PROG_RUN puts packets on.
const loopbackIndex = 1

const (
	podCookie = 77
	pod4      = "10.9.0.2"
	pod6      = "fd09::2"
	peer4     = "192.0.2.9"
	peer6     = "2001:db8::9"
	podLink   = "fe80::2"
)

// podSession is what a daemon knows of a pod.
func podSession() Session {
	session := syntheticSession()
	session.Own4, session.Own6 = netip.Addr{}, netip.Addr{}
	session.Own = []netip.Addr{netip.MustParseAddr(pod4), netip.MustParseAddr(pod6), netip.MustParseAddr(podLink)}
	session.Pod = true
	session.StubPort = 982
	return session
}

// gate drives the fence's programs with packets that no device has.
type gate struct {
	t      testing.TB
	object *Object
}

func newGate(t testing.TB) *gate {
	t.Helper()
	object, err := OpenNode(nodeDir(t), newCgroup(t), 16)
	require(t, err)
	t.Cleanup(func() { require(t, object.RemoveNode()) })
	require(t, object.AddSession(podCookie, podSession()))
	require(t, object.admitDevice(podCookie, loopbackIndex, nil))
	return &gate{t, object}
}

func (g *gate) counts() Counts {
	g.t.Helper()
	counts, err := g.object.Counts(podCookie)
	require(g.t, err)
	return counts
}

// run returns the reason of one packet's verdict.
func (g *gate) run(program *ebpf.Program, data []byte) Reason {
	g.t.Helper()
	before := g.counts()
	verdict, err := program.Run(&ebpf.RunOptions{Data: data})
	require(g.t, err)
	after := g.counts()
	for _, reason := range Reasons() {
		if after[reason] != before[reason] {
			if verdict != 2 {
				g.t.Errorf("verdict %d of a packet counted as %v", int32(verdict), reason)
			}
			return reason
		}
	}
	if verdict != math.MaxUint32 {
		g.t.Errorf("verdict %d of a packet that was not counted", verdict)
	}
	return ReasonPass
}

func (g *gate) out(p packet) Reason { g.t.Helper(); return g.run(g.object.fence.FromPod, p.bytes()) }
func (g *gate) in(p packet) Reason  { g.t.Helper(); return g.run(g.object.fence.ToPod, p.bytes()) }

func (g *gate) passes(what string, got Reason) {
	g.t.Helper()
	g.is(what, got, ReasonPass)
}

func (g *gate) is(what string, got, want Reason) {
	g.t.Helper()
	if got != want {
		g.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// flows is the pod's table.
func (g *gate) flows() *ebpf.Map {
	g.t.Helper()
	var id ebpf.MapID
	require(g.t, g.object.objects.Inbounds.Lookup(uint64(podCookie), &id))
	flows, err := ebpf.NewMapFromID(id)
	require(g.t, err)
	g.t.Cleanup(func() { flows.Close() })
	return flows
}

// age lets time pass for all flows.
func (g *gate) age(by time.Duration) {
	g.t.Helper()
	flows := g.flows()
	var peer redirectPeer
	var inbound redirectInbound
	aged := map[redirectPeer]redirectInbound{}
	for entries := flows.Iterate(); entries.Next(&peer, &inbound); {
		inbound.Seen -= uint64(by)
		aged[peer] = inbound
	}
	for peer, inbound := range aged {
		require(g.t, flows.Put(&peer, &inbound))
	}
}

func tcpIn(from, to string) packet {
	return packet{from: from, to: to, protocol: tcp, ports: [2]uint16{40000, 80}}
}

func udpIn(from, to string) packet {
	return packet{from: from, to: to, protocol: udp, ports: [2]uint16{40000, 53}}
}
