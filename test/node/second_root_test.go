// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// beside is the same container with another interface.
func (p *pod) beside(name string) *pod {
	second := *p
	second.Interface = name
	return &second
}

// K6: a container with two interfaces is one session, held at both, whatever
// happens to one of them.
func TestK6ASecondInterfaceIsHeld(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	first := b.newPod("web")
	first.plug("10.99.0.2")
	one := first.attach().Session
	first.swaps()
	second := first.beside("eth1")
	second.plug("10.99.0.3")
	// Each link answers for its own address, so that none is missed.
	err := first.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
	if err := b.client.Check(t.Context(), first.Attachment); api.Code(err) != api.CodeBroken {
		t.Errorf("check while a link is not held: %v", err)
	}
	if two := second.attach().Session; two != one {
		t.Errorf("one container has sessions %s and %s", one, two)
	}
	both := []*pod{first, second}
	held := func(when string) {
		t.Helper()
		for _, p := range both {
			p.stands()
			p.swaps()
			p.answers(out)
			p.sendEverything()
		}
		out.heardNothing(when)
	}
	held("attached")
	b.node.Kill()
	b.node.Start()
	held("after a restart")
	// One of both goes: it is held as long as its link is there.
	second.detach()
	both = both[:1]
	second.sendEverything()
	held("after one was detached")
	if err := b.world.Do(second.unplug); err != nil {
		t.Fatal(err)
	}
	held("after its link is gone")
	first.detach()
	b.isEmpty()
}

// unplug takes the link away.
func (p *pod) unplug() error {
	link, err := netlink.LinkByName(p.outer())
	if err == nil {
		err = netlink.LinkDel(link)
	}
	return err
}

// K6: a second interface that is refused leads nowhere, though its container
// may run already; the first goes on.
func TestK6ASecondInterfaceThatIsRefused(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	first := b.newPod("web")
	first.plug("10.99.0.2")
	first.attach()
	second := first.beside("eth1")
	second.plugMacvlan("10.99.0.3")
	if _, err := b.client.Attach(t.Context(), second.Attachment); api.Code(err) != api.CodeUnfenced {
		t.Errorf("attached: %v", err)
	}
	second.isDown()
	sealed := b.newPod("web")
	sealed.attach()
	for _, p := range []*pod{first, sealed} {
		third := p.beside("eth2")
		third.link()
		third.Sealed, third.Policy = false, "other"
		if _, err := b.client.Attach(t.Context(), third.Attachment); api.Code(err) != api.CodeExists {
			t.Errorf("attached under another policy: %v", err)
		}
		third.isDownOutside()
		p.swaps()
	}
	first.sendEverything()
	out.heardNothing("refused")
	first.detach()
	sealed.detach()
	b.isEmpty()
}

// That an attachment cannot be written down leaves nothing of it: a link that
// came beside others is stopped, a name is free again.
func TestASecondInterfaceThatIsNotWrittenDown(t *testing.T) {
	b := newBed(t)
	b.newStranger()
	plugged, sealed := b.newPod("web"), b.newPod("other")
	plugged.plug("10.99.0.2")
	for _, first := range []*pod{plugged, sealed} {
		first.attach()
		second := first.beside("eth1")
		if !first.Sealed {
			second.plug("10.99.0.3")
		}
		half := filepath.Join(filepath.Dir(second.file()), "."+filepath.Base(second.file()))
		if err := os.Mkdir(half, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := b.client.Attach(t.Context(), second.Attachment); api.Code(err) != api.CodeInternal {
			t.Errorf("attached: %v", err)
		}
		if !first.Sealed {
			second.isDownOutside()
		}
		first.swaps()
		first.stands()
		if err := os.Remove(half); err != nil {
			t.Fatal(err)
		}
		second.attach()
		first.detach()
		second.detach()
	}
	b.isEmpty()
}

// isDown fails the test where the interface is up.
func (p *pod) isDown() {
	p.Helper()
	err := p.do(func() error {
		link, err := netlink.LinkByName(p.Interface)
		if err == nil && link.Attrs().Flags&net.FlagUp != 0 {
			p.Errorf("%s of %s is up", p.Interface, p.Container)
		}
		return err
	})
	if err != nil {
		p.Error(err)
	}
}

// isDownOutside fails the test where the link's end on the bridge is up.
func (p *pod) isDownOutside() {
	p.Helper()
	err := p.world.Do(func() error {
		link, err := netlink.LinkByName(p.outer())
		if err == nil && link.Attrs().Flags&net.FlagUp != 0 {
			p.Errorf("%s is up", p.outer())
		}
		return err
	})
	if err != nil {
		p.Error(err)
	}
}

// plugMacvlan gives the namespace a link that has no end on the host.
func (p *pod) plugMacvlan(address string) {
	p.Helper()
	p.Sealed, p.address = false, address
	err := p.world.Do(func() error {
		br, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		m := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: br.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		if err := netlink.LinkAdd(m); err != nil {
			return err
		}
		there, err := unix.Open(p.Namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(there)
		return netlink.LinkSetNsFd(m, there)
	})
	if err == nil {
		err = p.do(func() error { return configure("mac0", p.Interface, address) })
	}
	if err != nil {
		p.Fatalf("plug %s in: %v", p.Container, err)
	}
}
