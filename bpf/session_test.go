// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"net/netip"
	"strings"
	"testing"
)

func validSession() Session {
	return Session{Port: 981, Listener4: netip.MustParseAddr("127.0.0.1"), Listener6: netip.IPv6Loopback()}
}

func TestInvalidSessionsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Session)
		want   string
	}{
		"no port":              {func(s *Session) { s.Port = 0 }, "port is 0"},
		"no listener":          {func(s *Session) { s.Listener4, s.Listener6 = netip.Addr{}, netip.Addr{} }, "no listener"},
		"listeners exchanged":  {func(s *Session) { s.Listener4, s.Listener6 = s.Listener6, s.Listener4 }, "other family"},
		"own of other family":  {func(s *Session) { s.Own6 = netip.MustParseAddr("198.18.255.1") }, "other family"},
		"v4-mapped prefix":     {func(s *Session) { s.Declared = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }, "not a plain"},
		"impossible prefix":    {func(s *Session) { s.Synthetic4 = netip.PrefixFrom(s.Listener4, 33) }, "not a plain"},
		"more than can be had": {func(s *Session) { s.Declared = manyPrefixes(prefixLimit + 1) }, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			session := validSession()
			test.change(&session)
			if _, _, err := session.encode(1); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
		})
	}
}

func manyPrefixes(n int) (prefixes []netip.Prefix) {
	for i := range n {
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 32))
	}
	return prefixes
}

// A key's bits are family, cookie and as much of the address as the prefix has; equal prefixes are one.
func TestPrefixesAreEncoded(t *testing.T) {
	prefixes, err := encodePrefixes(5, []netip.Prefix{
		{}, netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("10.0.0.0/8"),
	})
	if err != nil || len(prefixes) != 1 {
		t.Fatalf("%d prefixes, %v", len(prefixes), err)
	}
	got := prefixes[0]
	if got.Length != 32+64+96+8 || got.Family != afInet || got.Netns != 5 || decodeAddress(redirectAddress(got.Address)).String() != "10.0.0.0" {
		t.Errorf("encoded %+v", got)
	}
	if all := encodePrefix(5, netip.MustParsePrefix("::/0")); all.Length != 32+64 || all.Family != afInet6 {
		t.Errorf("encoded %+v", all)
	}
}

func TestAddressesGoThereAndBack(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "255.0.0.1", "::1", "fd70::1", "::"} {
		address := netip.MustParseAddr(text)
		if got := decodeAddress(encodeAddress(address)); got != address {
			t.Errorf("%s became %s", address, got)
		}
	}
}

func TestPodIsEncoded(t *testing.T) {
	session := Session{
		Port: 981, StubPort: 982, Listener4: netip.MustParseAddr("127.0.0.1"), Pod: true,
		Own4: netip.MustParseAddr("10.0.0.1"),
		Own:  []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), {}, netip.MustParseAddr("fe80::1%eth0")},
	}
	value, _, err := session.encode(5)
	if err != nil || value.Pod != 1 || value.Unfenced != 0 || value.StubPort != 982 {
		t.Fatalf("encoded %+v: %v", value, err)
	}
	want := [16]redirectAddress{encodeAddress(netip.MustParseAddr("10.0.0.1")), encodeAddress(netip.MustParseAddr("fe80::1"))}
	if value.Own != want {
		t.Errorf("own addresses %v, want %v", value.Own, want)
	}
	for name, broken := range map[string]func(*Session){
		"an own address that is none": func(s *Session) { s.Own = []netip.Addr{netip.IPv6Unspecified()} },
		"unfenced without a pod":      func(s *Session) { s.Pod, s.Unfenced = false, true },
		"more than there is room for": func(s *Session) {
			for i := range byte(16) {
				s.Own = append(s.Own, netip.AddrFrom4([4]byte{10, 1, 0, i}))
			}
		},
	} {
		s := session
		broken(&s)
		if _, _, err := s.encode(5); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
