// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const testCookie = 7

// ask runs the rules on one question, in the kernel.
func ask(t *testing.T, objects *verdictObjects, question verdictQuestion) Reason {
	t.Helper()
	var packet bytes.Buffer
	require(t, binary.Write(&packet, binary.NativeEndian, &question))
	got, err := objects.Judge.Run(&ebpf.RunOptions{Data: packet.Bytes()})
	require(t, err)
	return Reason(got)
}

// newJudge loads the rules with the prefixes of two sessions.
func newJudge(t *testing.T, shared bool) *verdictObjects {
	t.Helper()
	spec, err := loadVerdict()
	require(t, err)
	require(t, spec.Variables[verdictVarShared].Set(shared))
	var objects verdictObjects
	require(t, spec.LoadAndAssign(&objects, nil))
	t.Cleanup(func() { objects.Close() })
	for _, prefix := range []string{"198.18.0.0/16", "fd70:6861:6e74::/64", "203.0.113.7/32", "::/1"} {
		key := encodePrefix(testCookie, netip.MustParsePrefix(prefix))
		require(t, objects.Prefixes.Put(&key, uint32(1)))
	}
	other := encodePrefix(testCookie+1, netip.MustParsePrefix("0.0.0.0/0"))
	require(t, objects.Prefixes.Put(&other, uint32(1)))
	return &objects
}

// testSession is the product's usual one.
func testSession() Session {
	return Session{
		Port:      981,
		Listener4: netip.MustParseAddr("127.0.0.1"), Listener6: netip.IPv6Loopback(),
		Own4: netip.MustParseAddr("198.18.255.1"), Own6: netip.MustParseAddr("fd70:6861:6e74:ffff::1"),
	}
}

func question(rule verdictRule, protocol uint32, device uint32, to string) verdictQuestion {
	session := testSession()
	encoded, _, err := session.encode(testCookie)
	if err != nil {
		panic(err)
	}
	q := verdictQuestion{Rule: rule, Known: 1}
	q.Session.Port = encoded.Port
	q.Session.Listener4, q.Session.Listener6 = verdictAddress(encoded.Listener4), verdictAddress(encoded.Listener6)
	for i, own := range encoded.Own {
		q.Session.Own[i] = verdictAddress(own)
	}
	q.Request.Netns = testCookie
	q.Request.Protocol = protocol
	q.Request.Device = device
	if to != "" {
		address := netip.MustParseAddrPort(to)
		q.Request.Origin.To = verdictAddress(encodeAddress(address.Addr()))
		q.Request.Origin.Port = address.Port()
	}
	return q
}

const (
	tcp = unix.IPPROTO_TCP
	udp = unix.IPPROTO_UDP
)

func TestConnectIsJudged(t *testing.T) {
	objects := newJudge(t, false)
	for _, test := range []struct {
		to     string
		proto  uint32
		device uint32
		want   Reason
	}{
		{"198.18.0.1:443", tcp, 0, ReasonRedirect},
		{"198.18.255.255:65535", tcp, 0, ReasonRedirect},
		{"[::ffff:198.18.0.1]:443", tcp, 0, ReasonRedirect},
		{"[fd70:6861:6e74::1]:443", tcp, 0, ReasonRedirect},
		{"203.0.113.7:22", tcp, 0, ReasonRedirect},
		{"198.18.0.1:443", tcp, 1, ReasonRedirect},
		{"[1::1]:443", tcp, 0, ReasonRedirect},

		{"203.0.113.8:22", tcp, 0, ReasonUndeclared},
		{"198.17.255.255:443", tcp, 0, ReasonUndeclared},
		{"198.19.0.0:443", tcp, 0, ReasonUndeclared},
		{"[::ffff:203.0.113.8]:22", tcp, 0, ReasonUndeclared},
		{"[fd70:6861:6e74:1::1]:443", tcp, 0, ReasonUndeclared}, // ::/1 does not hold fd00::/8
		{"169.254.169.254:80", tcp, 0, ReasonUndeclared},
		{"255.255.255.255:80", tcp, 0, ReasonUndeclared},
		{"[fe80::1]:443", tcp, 0, ReasonUndeclared},
		{"[ff02::1]:443", tcp, 0, ReasonUndeclared},

		{"127.0.0.1:8080", tcp, 0, ReasonPass},
		{"127.255.255.254:8080", tcp, 0, ReasonPass},
		{"[::1]:8080", tcp, 0, ReasonPass},
		{"[::ffff:127.0.0.1]:8080", tcp, 0, ReasonPass},
		{"0.0.0.0:8080", tcp, 0, ReasonPass},
		{"[::]:8080", tcp, 0, ReasonPass},
		{"[::ffff:0.0.0.0]:8080", tcp, 0, ReasonPass},
		{"198.18.255.1:8080", tcp, 0, ReasonPass},
		{"[fd70:6861:6e74:ffff::1]:8080", tcp, 0, ReasonPass},
		{"8.8.8.8:53", tcp, 0, ReasonPass},
		{"[2001:4860:4860::8888]:53", tcp, 0, ReasonPass},

		{"127.0.0.1:981", tcp, 0, ReasonListener},
		{"127.1.2.3:981", tcp, 0, ReasonListener},
		{"[::1]:981", tcp, 0, ReasonListener},
		{"0.0.0.0:981", tcp, 0, ReasonListener},
		{"[::]:981", tcp, 0, ReasonListener},
		{"198.18.255.1:981", tcp, 0, ReasonListener},
		{"[::ffff:127.0.0.1]:981", tcp, 0, ReasonListener},
		{"198.18.0.1:981", tcp, 0, ReasonRedirect},

		{"198.18.0.1:443", tcp, 2, ReasonDevice},
		{"127.0.0.1:8080", tcp, 2, ReasonDevice},
		{"8.8.8.8:53", udp, 2, ReasonDevice},
		{"8.8.8.8:443", udp, 0, ReasonPass},
		{"198.18.0.1:443", unix.IPPROTO_UDPLITE, 0, ReasonProtocol},
		{"198.18.0.1:443", unix.IPPROTO_MPTCP, 0, ReasonProtocol},
		{"127.0.0.1:0", unix.IPPROTO_ICMP, 0, ReasonProtocol},
	} {
		t.Run(fmt.Sprintf("%d to %s by %d", test.proto, test.to, test.device), func(t *testing.T) {
			if got := ask(t, objects, question(verdictRuleRULE_CONNECT, test.proto, test.device, test.to)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// A session without IPv6 has no listener there, and nothing to redirect to.
func TestAbsentListenerRefuses(t *testing.T) {
	objects := newJudge(t, false)
	q := question(verdictRuleRULE_CONNECT, tcp, 0, "[fd70:6861:6e74::1]:443")
	q.Session.Listener6 = verdictAddress{}
	if got := ask(t, objects, q); got != ReasonUndeclared {
		t.Errorf("got %v, want %v", got, ReasonUndeclared)
	}
}

func TestDatagramIsJudged(t *testing.T) {
	objects := newJudge(t, false)
	for to, want := range map[string]Reason{
		"127.0.0.1:9":              ReasonPass,
		"[::1]:9":                  ReasonPass,
		"0.0.0.0:9":                ReasonPass,
		"198.18.255.1:9":           ReasonPass,
		"8.8.8.8:53":               ReasonPass,
		"[2001:db8::1]:53":         ReasonPass,
		"8.8.8.8:443":              ReasonUDP,
		"198.18.0.1:443":           ReasonUDP,
		"[2001:db8::1]:443":        ReasonUDP,
		"[::ffff:8.8.8.8]:443":     ReasonUDP,
		"224.0.0.251:5353":         ReasonUDP,
		"[ff02::fb]:5353":          ReasonUDP,
		"255.255.255.255:67":       ReasonUDP,
		"[::ffff:127.0.0.1]:12345": ReasonPass,
	} {
		t.Run(to, func(t *testing.T) {
			if got := ask(t, objects, question(verdictRuleRULE_DATAGRAM, udp, 0, to)); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := ask(t, objects, question(verdictRuleRULE_DATAGRAM, udp, 3, to)); got != ReasonDevice {
				t.Errorf("bound to a device: got %v, want %v", got, ReasonDevice)
			}
		})
	}
}

func TestSocketIsJudged(t *testing.T) {
	objects := newJudge(t, false)
	allowed := map[[3]uint32]bool{
		{unix.AF_INET, unix.SOCK_STREAM, tcp}: true, {unix.AF_INET6, unix.SOCK_STREAM, tcp}: true,
		{unix.AF_INET, unix.SOCK_DGRAM, udp}: true, {unix.AF_INET6, unix.SOCK_DGRAM, udp}: true,
	}
	protocols := []uint32{0, tcp, udp, unix.IPPROTO_ICMP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE, unix.IPPROTO_DCCP,
		unix.IPPROTO_ICMPV6, unix.IPPROTO_RAW, unix.IPPROTO_MPTCP, 256 /* IPPROTO_SMC */}
	for family := range uint32(unix.AF_MAX) {
		for kind := range uint32(unix.SOCK_PACKET + 1) {
			for _, protocol := range protocols {
				want := ReasonProtocol
				if allowed[[3]uint32{family, kind, protocol}] {
					want = ReasonPass
				}
				q := verdictQuestion{Rule: verdictRuleRULE_SOCKET, Family: family, Type: kind}
				q.Request.Protocol = protocol
				if got := ask(t, objects, q); got != want {
					t.Errorf("socket(%d, %d, %d): got %v, want %v", family, kind, protocol, got, want)
				}
			}
		}
	}
}

func TestStrangersAreRefusedUnlessShared(t *testing.T) {
	for shared, want := range map[bool]Reason{false: ReasonSession, true: ReasonPass} {
		objects := newJudge(t, shared)
		for _, rule := range []verdictRule{verdictRuleRULE_CONNECT, verdictRuleRULE_DATAGRAM} {
			q := question(rule, tcp, 0, "127.0.0.1:80")
			q.Known = 0
			if got := ask(t, objects, q); got != want {
				t.Errorf("shared %v, rule %d: got %v, want %v", shared, rule, got, want)
			}
		}
	}
}
