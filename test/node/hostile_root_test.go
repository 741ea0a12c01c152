// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
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

// hears tells whether a lie of a container's arrives, one that root inside can
// send.
func (s *stranger) hears(p *pod, l lie) bool {
	s.Helper()
	if err := p.do(func() error { return l.send(p, mark(0)) }); err != nil {
		s.Errorf("%s: %v", l.name, err)
	}
	return s.arrived(1)[0]
}
