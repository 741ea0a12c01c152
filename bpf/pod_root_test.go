// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// podQuestion asks of a pod's socket with local port 80.
func podQuestion(rule verdictRule, protocol, device uint32, to string) verdictQuestion {
	q := question(rule, protocol, device, to)
	session := podSession()
	encoded, _, err := session.encode(testCookie)
	if err != nil {
		panic(err)
	}
	for i, own := range encoded.Own {
		q.Session.Own[i] = verdictAddress(own)
	}
	q.Session.Pod, q.Session.StubPort = encoded.Pod, encoded.StubPort
	q.Request.OwnPort = 80
	return q
}

// noteFlows makes the flows of the test's session known to the rules.
func noteFlows(t *testing.T, objects *verdictObjects, protocol uint32, peers ...string) {
	t.Helper()
	spec, err := loadVerdict()
	require(t, err)
	flows, err := ebpf.NewMap(spec.Maps[verdictMapInbounds].InnerMap)
	require(t, err)
	t.Cleanup(func() { flows.Close() })
	require(t, objects.Inbounds.Put(uint64(testCookie), flows))
	now := boottime(t)
	for _, text := range peers {
		address := netip.MustParseAddrPort(text)
		peer := redirectPeer{Address: encodeAddress(address.Addr()), Port: address.Port(), OwnPort: 80, Protocol: protocol}
		require(t, flows.Put(&peer, &redirectInbound{Seen: now}))
	}
}

func TestPodConnectIsJudged(t *testing.T) {
	objects := newJudge(t, true)
	noteFlows(t, objects, tcp, "192.0.2.9:4000")
	for _, test := range []struct {
		to    string
		proto uint32
		want  Reason
	}{
		{"198.18.0.1:443", tcp, ReasonRedirect},
		{"203.0.113.8:443", tcp, ReasonUndeclared},
		{"8.8.8.8:53", tcp, ReasonPass},
		{pod4 + ":8080", tcp, ReasonPass},
		{"[" + pod6 + "]:8080", tcp, ReasonPass},
		{"[" + podLink + "]:8080", tcp, ReasonPass},
		{"10.9.0.3:8080", tcp, ReasonUndeclared},
		{"[fe80::3]:8080", tcp, ReasonUndeclared},
		{"198.18.255.1:8080", tcp, ReasonRedirect}, // a pod has addresses of its own instead of that one
		{"192.0.2.9:4000", tcp, ReasonUndeclared},  // an inbound peer is answered, not called
		{"127.0.0.1:981", tcp, ReasonListener},
		{pod4 + ":981", tcp, ReasonListener},
		{"127.0.0.1:982", tcp, ReasonListener},
		{"[::1]:982", tcp, ReasonListener},
		{pod4 + ":982", tcp, ReasonListener},
		{"[" + pod6 + "]:982", udp, ReasonListener},
		{"127.0.0.53:982", udp, ReasonListener},
		{"198.18.0.1:982", tcp, ReasonRedirect},
		{"8.8.8.8:982", udp, ReasonPass},
		{"192.0.2.9:4000", udp, ReasonPass},
	} {
		t.Run(test.to, func(t *testing.T) {
			if got := ask(t, objects, podQuestion(verdictRuleRULE_CONNECT, test.proto, 0, test.to)); got != test.want {
				t.Errorf("protocol %d: got %v, want %v", test.proto, got, test.want)
			}
			if got := ask(t, objects, podQuestion(verdictRuleRULE_CONNECT, test.proto, 5, test.to)); got != ReasonDevice {
				t.Errorf("protocol %d, bound to the link: got %v, want %v", test.proto, got, ReasonDevice)
			}
		})
	}
}

func TestPodDatagramIsJudged(t *testing.T) {
	objects := newJudge(t, true)
	noteFlows(t, objects, udp, "192.0.2.9:4000", "[2001:db8::9]:4000")
	for _, test := range []struct {
		to           string
		want, device Reason
	}{
		{"192.0.2.9:4000", ReasonPass, ReasonPass},
		{"[::ffff:192.0.2.9]:4000", ReasonPass, ReasonPass},
		{"[2001:db8::9]:4000", ReasonPass, ReasonPass},
		{"192.0.2.9:4001", ReasonUDP, ReasonDevice},
		{"192.0.2.8:4000", ReasonUDP, ReasonDevice},
		{"8.8.8.8:53", ReasonPass, ReasonDevice},
		{"127.0.0.1:9", ReasonPass, ReasonDevice},
		{pod4 + ":9", ReasonPass, ReasonDevice},
		{"127.0.0.1:982", ReasonListener, ReasonDevice},
		{pod4 + ":982", ReasonListener, ReasonDevice},
		{"8.8.8.8:982", ReasonUDP, ReasonDevice},
		{"255.255.255.255:67", ReasonUDP, ReasonDevice},
		{"[ff02::fb]:5353", ReasonUDP, ReasonDevice},
	} {
		t.Run(test.to, func(t *testing.T) {
			q := podQuestion(verdictRuleRULE_DATAGRAM, udp, 0, test.to)
			if got := ask(t, objects, q); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			q.Request.Device = 5
			if got := ask(t, objects, q); got != test.device {
				t.Errorf("bound to the link: got %v, want %v", got, test.device)
			}
			q.Request.Device, q.Request.OwnPort = 0, 81
			if got := ask(t, objects, q); test.want == ReasonPass && test.device == ReasonPass && got != ReasonUDP {
				t.Errorf("from another port: got %v, want %v", got, ReasonUDP)
			}
			q.Session.Pod = 0
			if got := ask(t, objects, q); test.device == ReasonPass && got != ReasonUDP {
				t.Errorf("of no pod: got %v, want %v", got, ReasonUDP)
			}
		})
	}
}

// What nftables has rewritten arrives at the stub's port, on lo.
func TestPodPacketOnLoopback(t *testing.T) {
	objects := newJudge(t, true)
	for to, want := range map[string]Reason{
		"127.0.0.1:982": ReasonPass, pod4 + ":982": ReasonPass, "[::1]:982": ReasonPass, "192.0.2.9:4000": ReasonUDP,
	} {
		if got := ask(t, objects, podQuestion(verdictRuleRULE_LOCAL, udp, 0, to)); got != want {
			t.Errorf("%s: got %v, want %v", to, got, want)
		}
	}
}

func TestPodPacketOnItsLink(t *testing.T) {
	objects := newJudge(t, true)
	noteFlows(t, objects, tcp, "192.0.2.9:4000")
	for _, test := range []struct {
		name   string
		to     string
		change func(*verdictQuestion)
		want   Reason
	}{
		{"answer", "192.0.2.9:4000", func(*verdictQuestion) {}, ReasonPass},
		{"to another", "192.0.2.9:4001", func(*verdictQuestion) {}, ReasonInterface},
		{"dns that nobody redirected", "8.8.8.8:53", func(*verdictQuestion) {}, ReasonInterface},
		{"connection to a peer", "192.0.2.9:4000", func(q *verdictQuestion) { q.Starts = 1 }, ReasonInterface},
		{"with options", "192.0.2.9:4000", func(q *verdictQuestion) { q.Broken = 1 }, ReasonPacket},
		{"of no pod", "192.0.2.9:4000", func(q *verdictQuestion) { q.Session.Pod = 0 }, ReasonInterface},
		{"of a session that is gone", "192.0.2.9:4000", func(q *verdictQuestion) { q.Known = 0 }, ReasonInterface},
		{"unfenced", "8.8.8.8:443", func(q *verdictQuestion) { q.Session.Unfenced = 1 }, ReasonPass},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := podQuestion(verdictRuleRULE_DEPARTURE, tcp, 0, test.to)
			test.change(&q)
			if got := ask(t, objects, q); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// Without a fence the hooks leave datagrams to nftables, and streams where they are.
func TestUnfencedPod(t *testing.T) {
	objects := newJudge(t, true)
	q := podQuestion(verdictRuleRULE_DATAGRAM, udp, 5, "8.8.8.8:443")
	q.Session.Unfenced = 1
	if got := ask(t, objects, q); got != ReasonPass {
		t.Errorf("datagram: %v", got)
	}
	q = podQuestion(verdictRuleRULE_CONNECT, tcp, 0, "203.0.113.8:443")
	q.Session.Unfenced = 1
	if got := ask(t, objects, q); got != ReasonUndeclared {
		t.Errorf("connect: %v", got)
	}
}
