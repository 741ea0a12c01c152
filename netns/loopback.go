// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of lo, one of each family. The first is in the range of RFC
// 2544 (benchmarking), the second a unique local address of RFC 4193; neither
// is ever given to a name.
var (
	OwnAddr4 = netip.MustParseAddr("198.18.255.1")
	OwnAddr6 = netip.MustParseAddr("fd70:6861:6e74:ffff::1")
)

// noIPv6 are the switches that keep IPv6 off a device: a host that sets them
// for all its devices hands them on to new namespaces.
var noIPv6 = []string{
	"/proc/sys/net/ipv6/conf/all/disable_ipv6",
	"/proc/sys/net/ipv6/conf/lo/disable_ipv6",
}

// seal gives lo of the calling thread's namespace its addresses and routes and
// reports whether the kernel has IPv6. What is there already stays.
func seal(handle *netlink.Handle) (ipv6 bool, err error) { return sealOn(handle, nil) }

// sealOn is seal with the addresses on another link than lo, if there is one.
func sealOn(handle *netlink.Handle, link netlink.Link) (ipv6 bool, err error) {
	if ipv6, err = enableIPv6(); err != nil {
		return false, err
	}
	lo, err := raise(handle)
	if err != nil {
		return false, err
	}
	if link == nil {
		link = lo
	}
	if err := settle(handle, link, lo, OwnAddr4); err != nil {
		return false, err
	}
	if !ipv6 {
		return false, nil
	}
	return true, settle(handle, link, lo, OwnAddr6)
}

// raise sets lo up.
func raise(handle *netlink.Handle) (netlink.Link, error) {
	lo, err := handle.LinkByIndex(loopback)
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	if err := handle.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("set lo up: %w", err)
	}
	return lo, nil
}

// settle gives a link one address, and lo the AnyIP route of its family, which
// makes all other addresses local too, with this one as the source.
func settle(handle *netlink.Handle, link, lo netlink.Link, own netip.Addr) error {
	addr := &netlink.Addr{
		IPNet: prefix(netip.PrefixFrom(own, own.BitLen())),
		// Without duplicate detection the address can be used at once.
		Flags: unix.IFA_F_NODAD,
	}
	if err := handle.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add address %s: %w", own, err)
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if own.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Dst:       prefix(everything),
		Src:       own.AsSlice(),
	}
	if err := handle.RouteReplace(route); err != nil {
		return fmt.Errorf("add local route %s: %w", everything, err)
	}
	return nil
}

func prefix(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// enableIPv6 switches IPv6 on in the calling thread's namespace and reports
// whether the kernel has it at all.
func enableIPv6() (bool, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil // ipv6.disable=1, or built without
	}
	if err != nil {
		return false, fmt.Errorf("make IPv6 socket: %w", err)
	}
	unix.Close(fd)
	for _, path := range noIPv6 {
		if err := clearSwitch(path); err != nil {
			return false, fmt.Errorf("enable IPv6: %w", err)
		}
	}
	return true, nil
}

// clearSwitch writes 0 to a switch that is on. It leaves one alone that is off,
// as /proc/sys may be read-only.
func clearSwitch(path string) error {
	value, err := os.ReadFile(path)
	if err != nil || string(value) == "0\n" {
		return err
	}
	return os.WriteFile(path, []byte("0\n"), 0)
}
