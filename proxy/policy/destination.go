// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// pattern reads a host, or "*." and a host.
func (r *reader) pattern(n *node) (string, error) {
	text, err := r.str(n, "host")
	if err != nil {
		return "", err
	}
	name, err := canonicalPattern(text)
	if err != nil {
		return "", r.fail(n, "host: %v", err)
	}
	return name, nil
}

// Widest ranges a name may be allowed to resolve to: those of RFC 1918 and
// RFC 4193. Wider ones would switch the dial guard off.
const (
	widest4 = 8
	widest6 = 7
)

// network reads a prefix in its own spelling, or a single address.
func (r *reader) network(n *node) (netip.Prefix, error) {
	text, err := r.str(n, "network")
	if err != nil {
		return netip.Prefix{}, err
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, r.fail(n, "network: want ADDRESS/BITS, as in 10.0.0.0/8")
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	return prefix, r.checkNetwork(n, prefix)
}

func (r *reader) checkNetwork(n *node, prefix netip.Prefix) error {
	widest := widest4
	if prefix.Addr().Is6() {
		widest = widest6
	}
	switch {
	case prefix.Addr().Is4In6() || prefix.Addr().Zone() != "":
		return r.fail(n, "network: write an IPv4 network as IPv4, and no zone")
	case prefix != prefix.Masked():
		return r.fail(n, "network: bits are set behind the prefix")
	case prefix.Bits() < widest:
		return r.fail(n, "network: wider than /%d", widest)
	}
	return nil
}

// own are ranges that mean something else inside a session: the proxy's
// synthetic addresses (RFC 2544's range and our unique local prefix), loopback,
// the unspecified address, multicast.
var own = []netip.Prefix{
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fd70:6861:6e74::/48"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("ff00::/8"),
}

// destination reads a network the agent may connect to by address.
func (r *reader) destination(n *node) (netip.Prefix, error) {
	prefix, err := r.network(n)
	if err != nil {
		return prefix, err
	}
	for _, p := range own {
		if p.Overlaps(prefix) {
			return prefix, r.fail(n, "egress.address: overlaps loopback, multicast or the session's own addresses; a host entry, hosts or forward reaches such a service")
		}
	}
	return prefix, nil
}

func (r *reader) port(n *node, where string) (uint16, error) {
	value, err := r.integer(n, where, 1, 65535)
	return uint16(value), err
}

// parsePort reads a port as text: decimal, no sign, no zero in front.
func parsePort(text string) (uint16, bool) {
	value, err := strconv.ParseUint(text, 10, 16)
	if err != nil || value == 0 || strconv.FormatUint(value, 10) != text {
		return 0, false
	}
	return uint16(value), true
}

// hostOrAddress is the canonical spelling of a host or an address without a
// zone.
func hostOrAddress(text string) (string, bool) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Unmap().String(), address.Zone() == ""
	}
	name, err := Canonical(text)
	return name, err == nil
}

// endpoint reads HOST:PORT, [ADDRESS]:PORT, and without needPort also HOST
// and ADDRESS.
func (r *reader) endpoint(n *node, where string, needPort bool) (string, error) {
	text, err := r.str(n, where)
	if err != nil {
		return "", err
	}
	if name, ok := hostOrAddress(text); ok && !needPort {
		return name, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		name, hostOK := hostOrAddress(host)
		number, portOK := parsePort(port)
		if hostOK && portOK {
			return net.JoinHostPort(name, strconv.Itoa(int(number))), nil
		}
	}
	return "", r.fail(n, "%s: want HOST:PORT or ADDRESS:PORT", where)
}

var hostKeys = keys[HostTarget]{
	"connect": func(r *reader, n *node, h *HostTarget) (err error) {
		h.Connect, err = r.endpoint(n, "hosts.connect", false)
		return err
	},
	"ca": func(r *reader, n *node, h *HostTarget) (err error) {
		if h.CAFile, err = r.str(n, "hosts.ca"); err != nil {
			return err
		}
		if !path.IsAbs(h.CAFile) || path.Clean(h.CAFile) != h.CAFile {
			return r.fail(n, "hosts.ca: want an absolute path without . and ..")
		}
		return nil
	},
}

func readHosts(r *reader, n *node, f *File) error {
	if n.kind != isMap {
		return r.fail(n, "hosts: want a mapping, found %s", n.kind)
	}
	seen := make(map[string]bool)
	for _, e := range n.entries {
		name, err := Canonical(e.key.text)
		switch {
		case err != nil:
			return r.fail(e.key, "hosts: %v", err)
		case seen[name]:
			return r.fail(e.key, "hosts: the same host twice")
		}
		seen[name] = true
		h := HostTarget{Host: name, Rule: r.rule(e.key)}
		given, err := readMap(r, e.value, "hosts", hostKeys, &h)
		if err != nil {
			return err
		}
		if len(given) == 0 {
			return r.fail(e.value, "hosts: want connect, ca or both")
		}
		f.Hosts = append(f.Hosts, h)
	}
	return nil
}

func readForward(r *reader, n *node, f *File) (err error) {
	seen := make(map[uint16]bool)
	f.Forward, err = readList(r, n, "forward", func(r *reader, n *node) (Forward, error) {
		to, err := r.endpoint(n, "forward", true)
		if err != nil {
			return Forward{}, err
		}
		_, text, _ := net.SplitHostPort(to)
		port, _ := parsePort(text)
		if seen[port] {
			return Forward{}, r.fail(n, "forward: the same port twice")
		}
		seen[port] = true
		return Forward{Port: port, Connect: to, Rule: r.rule(n)}, nil
	})
	return err
}

func readPublish(r *reader, n *node, f *File) (err error) {
	seen := make(map[netip.AddrPort]bool)
	f.Publish, err = readList(r, n, "publish", func(r *reader, n *node) (Publish, error) {
		text, err := r.str(n, "publish")
		if err != nil {
			return Publish{}, err
		}
		at := max(strings.LastIndexByte(text, ':'), 0)
		listen, err := netip.ParseAddrPort(text[:at])
		port, portOK := parsePort(strings.TrimPrefix(text[at:], ":"))
		switch {
		case err != nil || !portOK || listen.Port() == 0 || listen.String() != text[:at]:
			return Publish{}, r.fail(n, "publish: want ADDRESS:PORT:PORT, the host's and then the agent's, as in 127.0.0.1:3000:3000")
		case listen.Addr() != listen.Addr().Unmap() || !listen.Addr().IsLoopback() || listen.Addr().Zone() != "":
			return Publish{}, r.fail(n, "publish: want an address of the loopback, 127.0.0.1 or [::1]: anywhere else others could reach the agent")
		case seen[listen]:
			return Publish{}, r.fail(n, "publish: the same address and port twice")
		case len(seen) == maxPublish:
			return Publish{}, r.fail(n, "publish: more than %d", maxPublish)
		}
		seen[listen] = true
		return Publish{Listen: listen, Port: port, Rule: r.rule(n)}, nil
	})
	return err
}

// maxPublish is the most published ports: their listeners share one message
// with the others.
const maxPublish = 32
