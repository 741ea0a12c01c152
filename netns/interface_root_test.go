// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/phantom-ns/phantom-ns/netns"
)

// A container's interface has the name and the addresses, lo has what a kernel
// gives it, and every connection stays inside.
func TestASealedContainerHasAnInterface(t *testing.T) {
	ns := opened(t, bare(t))
	must(t, ns.Seal("eth0"))
	must(t, ns.Seal("eth0"))
	inside(t, ns, func() error {
		for name, want := range map[string][]string{
			"lo":   {"127.0.0.1/8", "::1/128"},
			"eth0": {"198.18.255.1/32", "fd70:6861:6e74:ffff::1/128"},
		} {
			link, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			addrs, err := link.Addrs()
			if err != nil {
				return err
			}
			var got []string
			for _, a := range addrs {
				got = append(got, a.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s has %q, want %q", name, got, want)
			}
		}
		return nil
	})
	for _, address := range []string{"203.0.113.9", "2001:db8::9"} {
		if source := connected(t, ns, address); source != map[bool]string{true: "198.18.255.1", false: "fd70:6861:6e74:ffff::1"}[net.ParseIP(address).To4() != nil] {
			t.Errorf("%s is reached from %s", address, source)
		}
	}
}

// connected connects to an address of anybody's, which AnyIP makes local, and
// returns from where.
func connected(t *testing.T, ns *netns.Namespace, address string) (source string) {
	t.Helper()
	inside(t, ns, func() error {
		l, err := net.Listen("tcp", "[::]:0")
		if err != nil {
			return err
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		conn, err := net.Dial("tcp", net.JoinHostPort(address, port))
		if err != nil {
			return err
		}
		defer conn.Close()
		source = conn.LocalAddr().(*net.TCPAddr).IP.String()
		return nil
	})
	return source
}

func TestTheNamesOfASealedContainersInterface(t *testing.T) {
	ns := opened(t, bare(t))
	must(t, ns.Seal("eth0"))
	for _, taken := range []string{"lo", "eth0"} {
		if err := ns.AddName(taken); !errors.Is(err, netns.ErrNameTaken) {
			t.Errorf("named %s: %v", taken, err)
		}
	}
	if err := ns.Seal("eth1"); !errors.Is(err, netns.ErrNameTaken) {
		t.Errorf("sealed as another: %v", err)
	}
	must(t, ns.AddName("net1"))
	must(t, ns.Seal("net1"))
	has(t, ns, "eth0", true)
	has(t, ns, "net1", true)
	must(t, ns.RemoveName("net1"))
	must(t, ns.RemoveName("net1"))
	has(t, ns, "net1", false)
	must(t, ns.RemoveInterface())
	must(t, ns.RemoveInterface())
	has(t, ns, "eth0", false)
	must(t, ns.Seal("eth1"))
}

func has(t *testing.T, ns *netns.Namespace, name string, want bool) {
	t.Helper()
	if got, err := ns.HasName(name); got != want || err != nil {
		t.Errorf("it is called %s: %v, %v", name, got, err)
	}
}

// A pair that leads somewhere is no interface of ours, whatever it is called.
func TestASealedContainersInterfaceLeadsNowhere(t *testing.T) {
	ns, other := opened(t, bare(t)), opened(t, bare(t))
	inside(t, ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "phantom-end", PeerNamespace: netlink.NsFd(other.FD())})
	})
	if err := ns.Seal("eth0"); !errors.Is(err, netns.ErrNotEmpty) {
		t.Errorf("sealed: %v", err)
	}
}
