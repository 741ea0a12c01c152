// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

func open(t *testing.T) *netns.Namespace {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func inside(t *testing.T, ns *netns.Namespace, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// needIPv6 fails when the namespace's view of IPv6 is not the kernel's.
func needIPv6(t *testing.T, ns *netns.Namespace) bool {
	t.Helper()
	_, err := os.Stat("/proc/sys/net/ipv6")
	if ns.HasIPv6() != (err == nil) {
		t.Fatalf("HasIPv6 is %v, and /proc/sys/net/ipv6: %v", ns.HasIPv6(), err)
	}
	return ns.HasIPv6()
}

func TestOnlyLoopback(t *testing.T) {
	ns := open(t)
	want := []string{netns.OwnAddr4.String() + "/32", "127.0.0.1/8"}
	if needIPv6(t, ns) {
		want = append(want, "::1/128", netns.OwnAddr6.String()+"/128")
	}
	inside(t, ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		if len(links) != 1 || links[0].Attrs().Name != "lo" || links[0].Attrs().Flags&net.FlagUp == 0 {
			t.Errorf("links are %v, want lo, up, alone", links)
		}
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		var got []string
		for _, a := range addrs {
			got = append(got, a.IPNet.String())
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				t.Errorf("%s is tentative", a.IPNet)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("addresses are %v, want %v", got, want)
		}
		return err
	})
}

func TestAnyAddressArrives(t *testing.T) {
	ns := open(t)
	destinations := []string{"8.8.8.8:443", "10.0.0.1:443", "169.254.169.254:443", "127.0.0.1:443"}
	if needIPv6(t, ns) {
		destinations = append(destinations, "[2001:4860:4860::8888]:443", "[fd00::1]:443", "[::1]:443")
	}
	for _, dst := range destinations {
		t.Run(dst, func(t *testing.T) {
			inside(t, ns, func() error { return arrives(t, netip.MustParseAddrPort(dst)) })
		})
	}
}

// arrives connects to dst by plain calls: a dial of package net may continue on
// another thread, outside.
func arrives(t *testing.T, dst netip.AddrPort) error {
	family := unix.AF_INET
	own := netns.OwnAddr4
	var everywhere, to unix.Sockaddr
	if dst.Addr().Is6() {
		family, own = unix.AF_INET6, netns.OwnAddr6
		everywhere, to = &unix.SockaddrInet6{Port: 443}, &unix.SockaddrInet6{Port: 443, Addr: dst.Addr().As16()}
	} else {
		everywhere, to = &unix.SockaddrInet4{Port: 443}, &unix.SockaddrInet4{Port: 443, Addr: dst.Addr().As4()}
	}
	listener, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	client, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	reuse := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := errors.Join(reuse, unix.Bind(listener, everywhere), unix.Listen(listener, 8), unix.Connect(client, to)); err != nil {
		return err
	}
	server, peer, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	defer unix.Close(server)
	local, err := unix.Getsockname(server)
	if got := addrPort(local); got != dst {
		t.Errorf("arrived at %s, want %s", got, dst)
	}
	if got := addrPort(peer).Addr(); got != own && !dst.Addr().IsLoopback() {
		t.Errorf("came from %s, want %s", got, own)
	}
	return err
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func TestNothingListens(t *testing.T) {
	ns := open(t)
	inside(t, ns, func() error {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(client)
		err = unix.Connect(client, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{8, 8, 8, 8}})
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("connect: %v, want %v", err, unix.ECONNREFUSED)
		}
		return nil
	})
}

func TestCookie(t *testing.T) {
	first, second := open(t), open(t)
	a, err := first.Cookie()
	if err != nil {
		t.Fatal(err)
	}
	b, err := second.Cookie()
	if err != nil {
		t.Fatal(err)
	}
	if a != 0 && a == b {
		t.Errorf("two namespaces share cookie %d", a)
	}
}

func TestDoReturns(t *testing.T) {
	ns := open(t)
	var before, within, after unix.Stat_t
	stat := func(st *unix.Stat_t) error { return unix.Stat("/proc/thread-self/ns/net", st) }
	refused := errors.New("refused")
	if err := stat(&before); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return errors.Join(stat(&within), refused) }); !errors.Is(err, refused) {
		t.Errorf("Do: %v, want %v", err, refused)
	}
	if err := stat(&after); err != nil {
		t.Fatal(err)
	}
	if before.Ino != after.Ino || before.Ino == within.Ino {
		t.Errorf("namespace was %d, %d within, %d after", before.Ino, within.Ino, after.Ino)
	}
}

// A host without IPv6 by its settings: the namespace has it all the same.
func TestIPv6SwitchedOff(t *testing.T) {
	outer := open(t)
	if !needIPv6(t, outer) {
		return
	}
	inside(t, outer, func() error {
		path := "/proc/sys/net/ipv6/conf/all/disable_ipv6"
		if err := os.WriteFile(path, []byte("1"), 0); err != nil {
			return err
		}
		ns, err := netns.New()
		if err != nil {
			return err
		}
		if !ns.HasIPv6() {
			t.Error("no IPv6")
		}
		return ns.Close()
	})
}
