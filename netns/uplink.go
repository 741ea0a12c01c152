// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Uplink is a link of a namespace by which packets can leave it.
type Uplink struct {
	Name, Kind string // Kind as ip(8) names it: veth, macvlan, ipvlan; "device" for hardware
	Index      int    // inside
	// HostIndex is the link in the namespace of who asked that every packet of
	// this one passes: the other end of a pair. It is 0 where there is none
	// (macvlan, ipvlan, vlan, hardware, an end in a third namespace).
	HostIndex int
	Hardware  net.HardwareAddr // its own; nil where such a link has none
	Addresses []netip.Prefix   // of both families, in the kernel's order
}

// Uplinks lists every link of the namespace but lo and the tunnels that the
// kernel puts, down, into every namespace.
func (n *Namespace) Uplinks() ([]Uplink, error) {
	ours, err := os.Open(self)
	if err != nil {
		return nil, fmt.Errorf("list uplinks: %w", err)
	}
	defer ours.Close()
	var all []Uplink
	err = n.routed(func(handle *netlink.Handle) error {
		// Each namespace has its own number for another; -1 when it has none,
		// and then no link of it ends there.
		host, err := handle.GetNetNsIdByFd(int(ours.Fd()))
		if err != nil {
			return err
		}
		links, err := handle.LinkList()
		if err != nil {
			return err
		}
		all = nil
		for _, link := range links {
			if link.Attrs().Index == loopback || isFallback(link) {
				continue
			}
			up := Uplink{
				Name: link.Attrs().Name, Kind: link.Type(), Index: link.Attrs().Index, HostIndex: peer(link, host),
				Hardware: link.Attrs().HardwareAddr,
			}
			if up.Addresses, err = addresses(handle, link); err != nil {
				return err
			}
			all = append(all, up)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list uplinks: %w", err)
	}
	return all, nil
}

// peer is the index of the other end of a pair when it is in the namespace that
// has the number host. A macvlan names its parent in the same way, and that one
// sees no packet between two of its children.
func peer(link netlink.Link, host int) int {
	attrs := link.Attrs()
	paired := link.Type() == "veth" || link.Type() == "netkit"
	if !paired || host < 0 || attrs.NetNsID != host {
		return 0
	}
	return attrs.ParentIndex
}

func addresses(handle *netlink.Handle, link netlink.Link) ([]netip.Prefix, error) {
	list, err := handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %q: %w", link.Attrs().Name, err)
	}
	var all []netip.Prefix
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		bits, _ := a.Mask.Size()
		all = append(all, netip.PrefixFrom(ip.Unmap(), bits))
	}
	return all, nil
}

// fallback are the devices that tunnel modules put into every namespace (unless
// net.core.fb_tunnels_only_for_init_net says otherwise).
var fallback = map[string]bool{
	"tunl0": true, "gre0": true, "gretap0": true, "erspan0": true, "ip_vti0": true,
	"sit0": true, "ip6tnl0": true, "ip6gre0": true, "ip6_vti0": true,
}

func isFallback(link netlink.Link) bool {
	return fallback[link.Attrs().Name] && link.Attrs().RawFlags&unix.IFF_UP == 0
}
