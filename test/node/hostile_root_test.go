// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// K6: what root inside has made of its network by the time a daemon takes the
// container over is not believed: an address that it took stays another's, and
// links of its own keep nobody from serving it.
func TestK6WhatRootInsideChangedIsNotBelieved(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	p := b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	told := []lie{
		{"ARP, nobody's address", frame(unix.ETH_P_ARP, func(m []byte) []byte { return arp(2, m, nobody, nobody) })},
		{"another's hardware", func(p *pod, m []byte) error {
			return sendFrom(m, p.Interface, unix.ETH_P_ARP, arp(1, nobodyMAC, liarIP, nobody))
		}},
	}
	for _, change := range []func(netlink.Link) error{
		func(link netlink.Link) error { return addAddress(link, nobody.String()+"/24") },
		func(netlink.Link) error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "own0"}, PeerName: "own1"})
		},
	} {
		err := p.do(func() error {
			link, err := netlink.LinkByName(p.Interface)
			if err != nil {
				return err
			}
			return change(link)
		})
		if err != nil {
			t.Fatal(err)
		}
		b.node.Stop()
		b.node.Start()
		p.swaps()
		p.answers(out)
		for _, l := range told {
			if out.hears(p, l) {
				t.Errorf("%s: heard", l.name)
			}
		}
	}
	p.detach()
	b.isEmpty()
}

// A link that root inside has moved to a namespace of its own is fenced as long
// as it is up, also after a daemon that never saw it where it was.
func TestK6AMovedLinkIsNotForgotten(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	p, nested := b.newPod("web"), b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	err := p.do(func() error {
		link, err := netlink.LinkByName(p.Interface)
		if err != nil {
			return err
		}
		there, err := unix.Open(nested.Namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(there)
		return netlink.LinkSetNsFd(link, there)
	})
	if err == nil {
		err = nested.do(func() error { return configure(p.Interface, p.Interface, "10.99.0.2") })
	}
	if err != nil {
		t.Fatal(err)
	}
	out.heard()
	for _, when := range []struct {
		name string
		do   func()
	}{
		{"moved", func() {}},
		{"taken over", func() { b.node.Stop(); b.node.Start() }},
		{"detached", p.detach},
	} {
		when.do()
		nested.sendEverything()
		out.heardNothing(when.name)
	}
	b.isEmpty()
}

// Root inside ends the listeners (SOCK_DESTROY). Its container is refused, and
// then served by others; nobody else notices.
func TestK6RootInsideEndsTheListeners(t *testing.T) {
	b := newBed(t)
	sealed, plugged := b.newPod("web"), b.newPod("other")
	b.newStranger()
	plugged.plug("10.99.0.2")
	sealed.attach()
	plugged.attach()
	for _, p := range []*pod{sealed, plugged} {
		loop := p.startTraffic()
		for range 2 {
			loop.until("200 0")
			listener := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 981}
			if err := p.do(func() error { return netlink.SocketDestroy(listener, &net.TCPAddr{IP: net.IPv4zero}) }); err != nil {
				t.Fatal(fmt.Errorf("end listener: %w", err))
			}
			for loop.next(1)[0] == "200 0" {
			}
			loop.until("200 0")
		}
		loop.end()
		p.stands()
	}
	sealed.detach()
	plugged.detach()
	b.isEmpty()
}

// K6: why NET_ADMIN is refused where somebody tells of it (oci.Unheld). A link
// whose other end is on the host says by which number the host's namespace goes
// inside, and with it root makes links there, which no filter stands behind. A
// sealed container has no such link.
func TestK6ALinkNamesTheHostsNamespace(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	plugged, sealed := b.newPod("web"), b.newPod("web")
	plugged.plug("10.99.0.2")
	plugged.attach()
	sealed.attach()
	var parent int
	err := b.world.Do(func() error {
		br, err := netlink.LinkByName(bridge)
		if err == nil {
			parent = br.Attrs().Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sealed.do(func() error { return addOnHost("more0", parent) }); !errors.Is(err, errNoNumber) {
		t.Errorf("sealed: %v", err)
	}
	out.heardNothing("sealed")
	err = plugged.do(func() error {
		return errors.Join(addOnHost("more0", parent), sendFrames("more0", "10.99.0.2"))
	})
	if err != nil {
		t.Fatal(err)
	}
	out.heard()
	plugged.detach()
	sealed.detach()
	b.isEmpty()
}

var errNoNumber = errors.New("no link names another namespace")

// addOnHost makes a link on one of the host's, from inside.
func addOnHost(name string, parent int) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().NetNsID >= 0 })
	if at < 0 {
		return errNoNumber
	}
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	request.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(parent))))
	request.AddData(nl.NewRtAttr(unix.IFLA_LINK_NETNSID, nl.Uint32Attr(uint32(links[at].Attrs().NetNsID))))
	kind := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	kind.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("macvlan"))
	request.AddData(kind)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("add %s on the host's link: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// hears tells whether a lie of a container's arrives, one that root inside can
// send.
func (s *stranger) hears(p *pod, l lie) bool {
	s.Helper()
	if err := p.do(func() error { return l.send(p, mark(0)) }); err != nil {
		s.Errorf("%s: %v", l.name, err)
	}
	return s.arrived(1)[0]
}
