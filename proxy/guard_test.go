// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// refusedAddresses are no destinations, in every form that an address can take.
var refusedAddresses = []string{
	"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1",
	"172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.1", "198.51.100.1", "203.0.113.1",
	"168.63.129.16", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::2", "::7f00:1", "::a9fe:a9fe", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:a9fe:a9fe",
	"64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:db8::1",
	"2002:a9fe:a9fe::", "2002:7f00:1::", "fc00::1", "fd00:ec2::254", "fd70:6861:6e74::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1",
	"3fff::1", "5f00::1", "4000::1", "8.8.4.4", // the last is this host's own in the test
}

func TestN6Guard(t *testing.T) {
	g := &guard{own: []netip.Addr{netip.MustParseAddr("8.8.4.4")}}
	for _, text := range refusedAddresses {
		if err := g.check(netip.MustParseAddr(text)); !errors.Is(err, errDialRefused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"} {
		if err := g.check(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestGuardAllowance: a network that the policy names is allowed, and nothing
// beside it.
func TestGuardAllowance(t *testing.T) {
	g := &guard{allowed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for text, allowed := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "64:ff9b::a01:203": false, "127.0.0.1": false} {
		if err := g.check(netip.MustParseAddr(text)); (err == nil) != allowed {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestGuardControl: the last check is of what the kernel is about to dial.
func TestGuardControl(t *testing.T) {
	g := &guard{}
	for _, c := range [][2]string{{"tcp4", "127.0.0.1:1"}, {"tcp6", "[::1]:1"}, {"udp4", "8.8.8.8:53"}, {"tcp4", "localhost:1"}, {"tcp4", ""}} {
		if err := g.control(c[0], c[1], nil); !errors.Is(err, errDialRefused) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if err := g.control("tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
	nd := net.Dialer{Control: g.control}
	if conn, err := nd.Dial("tcp", "localhost:1"); !errors.Is(err, errDialRefused) {
		t.Errorf("%v, %v", conn, err)
	}
}

// fakeResolver answers from a table and counts.
type fakeResolver struct {
	answers []string
	asked   []string
}

func (f *fakeResolver) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	f.asked = append(f.asked, network+" "+host)
	if f.answers == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var list []netip.Addr
	for _, a := range f.answers {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// TestN7Rebinding: whatever the resolver says of an allowed name, a refused
// address among the answers refuses the dial, with its reason; so does no
// answer.
func TestN7Rebinding(t *testing.T) {
	cases := map[string]audit.Reason{"": audit.ReasonResolve}
	for _, text := range refusedAddresses[:len(refusedAddresses)-1] {
		cases[text] = audit.ReasonDialRefused
	}
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	for text, want := range cases {
		for _, mixed := range []bool{false, true} {
			f := &fakeResolver{}
			if text != "" {
				f.answers = []string{text}
			}
			if mixed {
				f.answers = append(f.answers, "203.0.113.99")
				want = audit.ReasonDialRefused
			}
			session := testSession(up.address(), up.address())
			session.Hosts = nil
			r := newRig(t, session, world, func(c *Config) { c.Resolver = f })
			resp, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if reason := r.refusedPage(body, 1); resp.StatusCode != 502 || reason != string(want) {
				t.Errorf("%q, mixed %t: %d %s", text, mixed, resp.StatusCode, reason)
			}
			if fmt.Sprint(f.asked) != "[ip "+apiHost+".]" {
				t.Errorf("asked %v", f.asked)
			}
		}
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// TestNetworks: a name may be in a private network that its entry allows.
func TestNetworks(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	_, port, err := splitAddress(up.address())
	if err != nil {
		t.Fatal(err)
	}
	session := testSession("", "")
	session.Hosts = []policy.HostTarget{{Host: openHost, Connect: fmt.Sprintf("gateway.test:%d", port), Rule: "test:9"}}
	for i := range session.Egress {
		session.Egress[i].Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	f := &fakeResolver{answers: []string{"127.0.0.1"}}
	r := newRig(t, session, world, func(c *Config) { c.Resolver = f })
	if resp, body := r.do(r.client(false), call{url: "https://" + openHost + "/"}); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if fmt.Sprint(f.asked) != "[ip gateway.test.]" {
		t.Errorf("asked %v", f.asked)
	}
}

// TestN7Mixed: an address that is allowed does not help beside one that is not.
func TestN7Mixed(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	_, port, _ := splitAddress(up.address())
	session := testSession("", "")
	session.Hosts = []policy.HostTarget{{Host: openHost, Connect: fmt.Sprintf("gateway.test:%d", port), Rule: "test:9"}}
	session.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	f := &fakeResolver{answers: []string{"127.0.0.1", "10.0.0.1"}}
	r := newRig(t, session, world, func(c *Config) { c.Resolver = f })
	resp, body := r.do(r.client(false), call{url: "https://" + openHost + "/"})
	if reason := r.refusedPage(body, 1); resp.StatusCode != 502 || reason != string(audit.ReasonDialRefused) || up.connections() != 0 {
		t.Errorf("%d %s, %d connections", resp.StatusCode, reason, up.connections())
	}
}

// TestUndeclaredNames: what the rules do not name is neither looked up nor asked
// the network's proxy for, whoever wants it dialled.
func TestUndeclaredNames(t *testing.T) {
	rules, err := policy.Compile(testSession("127.0.0.1:1", "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeResolver{answers: []string{"127.0.0.1"}}
	for _, via := range []*Via{nil, {Address: "proxy.corp.test:3128"}} {
		d := &dialer{rules: rules, resolver: f, own: func() ([]netip.Addr, error) { return nil, nil }, via: via}
		for _, address := range []string{"elsewhere.test:443", apiHost + ":444", "127.0.0.1:443"} {
			if conn, err := d.dialName(t.Context(), "tcp", address); !errors.Is(err, errUndeclared) {
				t.Errorf("%s: %v, %v", address, conn, err)
			}
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("asked %v", f.asked)
	}
}

// TestRace: a candidate that fails does not lose the dial.
func TestRace(t *testing.T) {
	up := newRecorder(t, nil, nil)
	_, port, _ := splitAddress(up.address())
	d := &dialer{}
	g := &guard{allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	conn, err := d.race(t.Context(), g, []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	_, err = d.race(t.Context(), g, slices.Repeat([]netip.Addr{netip.MustParseAddr("127.0.0.3")}, maxCandidates+1), 1)
	if err == nil || strings.Count(err.Error(), "dial tcp") != maxCandidates {
		t.Errorf("dials to nobody: %v", err)
	}
	got := interleave([]netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("1.1.1.2"), netip.MustParseAddr("2606::1"), netip.MustParseAddr("1.1.1.3")})
	if fmt.Sprint(got) != "[2606::1 1.1.1.1 1.1.1.2 1.1.1.3]" {
		t.Errorf("order %v", got)
	}
}
