// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Outside is the world's one link. Its far end is nobody.
const Outside = "outside0"

// The world's own addresses: documentation prefixes (RFC 5737, RFC 3849), so
// that they are public to every address check and nobody's in truth.
var (
	Addr4 = netip.MustParsePrefix("203.0.113.2/24")
	Addr6 = netip.MustParsePrefix("2001:db8:1::2/64")
)

// plugIn gives the thread's network namespace a loopback, a link and default
// routes over it for both families. The link is a TUN device: what is sent to
// it has left the host as far as the kernel is concerned, and reaches no one.
// It goes down when the returned file is closed.
func plugIn() (*os.File, error) {
	if err := linkUp("lo"); err != nil {
		return nil, err
	}
	tun, err := openTun(Outside)
	if err != nil {
		return nil, err
	}
	if err := address(Outside); err != nil {
		tun.Close()
		return nil, err
	}
	return tun, nil
}

func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make tun device: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

func address(name string) error {
	if err := linkUp(name); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	prefixes, everywhere := []netip.Prefix{Addr4}, []string{"0.0.0.0/0"}
	if hasIPv6() {
		prefixes, everywhere = append(prefixes, Addr6), append(everywhere, "::/0")
	}
	for i, prefix := range prefixes {
		addr, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", prefix, err)
		}
		_, all, err := net.ParseCIDR(everywhere[i])
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all}); err != nil {
			return fmt.Errorf("add default route: %w", err)
		}
	}
	return nil
}

// hasIPv6 tells whether this namespace may have IPv6 addresses at all.
func hasIPv6() bool {
	data, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	return err == nil && string(data) == "0\n"
}

// DisableIPv6 switches IPv6 off in the world's network, as a host's
// administrator would with sysctl.
func (w *World) DisableIPv6() {
	w.t.Helper()
	w.must("disable IPv6", func() error {
		for _, scope := range []string{"all", "default"} {
			path := "/proc/sys/net/ipv6/conf/" + scope + "/disable_ipv6"
			if err := os.WriteFile(path, []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
}
