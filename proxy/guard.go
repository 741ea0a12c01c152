// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// errDialRefused is wrapped by every refusal of the dial guard.
var errDialRefused = errors.New("address is not dialled")

// errFakeAddress is wrapped, beside errDialRefused, for an address of RFC 2544's
// range: nobody has one. A resolver that answers so is a VPN's or a local
// proxy's, which maps each name to an address of its own ("fake IP").
var errFakeAddress = errors.New("no real address")

// fakeAddresses is that range.
var fakeAddresses = netip.MustParsePrefix("198.18.0.0/15")

// guard decides about the addresses of one dial. It is asked twice: about every
// answer of the resolver, and in the dialler's Control hook about the address
// the kernel is about to connect to, which nothing can change any more.
type guard struct {
	allowed []netip.Prefix // by the policy, for this name
	own     []netip.Addr   // this host's
}

// refusedPrefixes are ranges that are no public unicast destination, or that
// carry an IPv4 address in a form the prefix checks of IPv4 do not see. The
// registries are IANA's special-purpose ones (RFC 6890 and updates).
var refusedPrefixes = func() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8",         // this network
		"10.0.0.0/8",        // private
		"100.64.0.0/10",     // carrier-grade NAT; 100.100.100.200 is Alibaba's metadata
		"127.0.0.0/8",       // loopback
		"168.63.129.16/32",  // Azure's wire server, a public address
		"169.254.0.0/16",    // link-local; 169.254.169.254 is metadata
		"172.16.0.0/12",     // private
		"192.0.0.0/24",      // protocol assignments; 192.0.0.192 is Oracle's metadata
		"192.0.2.0/24",      // documentation
		"192.31.196.0/24",   // AS112
		"192.52.193.0/24",   // AMT
		"192.88.99.0/24",    // 6to4 relays
		"192.168.0.0/16",    // private
		"192.175.48.0/24",   // AS112
		"198.18.0.0/15",     // benchmarking, and our own synthetic addresses
		"198.51.100.0/24",   // documentation
		"203.0.113.0/24",    // documentation
		"224.0.0.0/4",       // multicast
		"240.0.0.0/4",       // reserved, and broadcast
		"::/96",             // unspecified, loopback, IPv4-compatible
		"::ffff:0:0/96",     // IPv4-mapped, where it was not unmapped before
		"::ffff:0:0:0/96",   // IPv4-translated (RFC 2765)
		"64:ff9b::/96",      // NAT64
		"64:ff9b:1::/48",    // NAT64, local use
		"100::/64",          // discard
		"100:0:0:1::/64",    // dummy
		"2001::/23",         // protocol assignments, with Teredo
		"2001:db8::/32",     // documentation
		"2002::/16",         // 6to4
		"2620:4f:8000::/48", // AS112
		"3fff::/20",         // documentation
		"5f00::/16",         // segment routing
		"fc00::/7",          // unique local; fd00:ec2::254 is AWS's metadata
		"fe80::/10",         // link-local
		"fec0::/10",         // site-local
		"ff00::/8",          // multicast
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}()

// globalIPv6 is all that IANA has given out for unicast; the rest is reserved.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// check reports whether addr may be dialled.
func (g *guard) check(addr netip.Addr) error {
	addr = addr.Unmap()
	if g.permits(addr) {
		return nil
	}
	if addr.Zone() != "" || !addr.IsGlobalUnicast() {
		return errDialRefused
	}
	if addr.Is6() && !globalIPv6.Contains(addr) {
		return errDialRefused
	}
	if fakeAddresses.Contains(addr) {
		return fmt.Errorf("%w: %w", errDialRefused, errFakeAddress)
	}
	for _, prefix := range refusedPrefixes {
		if prefix.Contains(addr) {
			return errDialRefused
		}
	}
	if slices.Contains(g.own, addr) {
		return errDialRefused
	}
	return nil
}

// permits reports whether the policy names a network with addr for this host.
func (g *guard) permits(addr netip.Addr) bool {
	return slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// checkAll refuses the whole answer for one bad address: a name that resolves
// to a public and a private one is being rebound.
func (g *guard) checkAll(addrs []netip.Addr) error {
	for _, addr := range addrs {
		if err := g.check(addr); err != nil {
			return fmt.Errorf("check %s: %w", addr, err)
		}
	}
	return nil
}

// control is the dialler's hook.
func (g *guard) control(network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return errDialRefused
	}
	return g.check(to.Addr())
}

// interfaceAddresses lists the addresses of this host.
func interfaceAddresses() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var own []netip.Addr
	for _, n := range nets {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own, nil
}
