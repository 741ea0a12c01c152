// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Rules answers the proxy's questions about one session. It is not written
// after [Compile]. Hosts it is asked about are canonical; a host that is not
// matches nothing.
type Rules struct {
	sites    map[string]*site // by pattern: "a.test" or "*.a.test"
	networks []network        // of address entries, narrowest first
	targets  map[string]HostTarget
	upstream []netip.Prefix
	names    []string
	declared []netip.Prefix
	captures []*TokenEndpoint
	signed   map[string]signedEndpoints // by credential, of those that sign
	// endpoints are hosts for the proxy's own requests
	endpoints []string
}

// site is everything that holds for the hosts whose most specific pattern is
// the same.
type site struct {
	ports map[uint16]*gate
}

// gate is one port of a site.
type gate struct {
	connect   Connect
	bound     []*binding // the credentials of connect
	list      list       // what the egress entry allows to requests without credential
	listed    bool       // bare requests are judged by list; else by anonymous
	foreign   bool
	anonymous Anonymous // of bare requests, where listed is false
	challenge string
	networks  []netip.Prefix
	entry     string // rule of the egress entry, "" for none
}

// binding is a credential and its compiled allow list.
type binding struct {
	credential *Credential
	list       list
}

// network is a compiled address entry.
type network struct {
	prefix  netip.Prefix
	port    uint16
	connect Connect
}

// site finds the most specific pattern that matches host. A host that is not
// canonical matches none, whatever the caller forgot.
func (r *Rules) site(host string) *site {
	if name, err := Canonical(host); err != nil || name != host {
		return nil
	}
	if s := r.sites[host]; s != nil {
		return s
	}
	for rest := host; ; {
		_, parent, found := strings.Cut(rest, ".")
		if !found {
			return nil
		}
		if s := r.wild(parent); s != nil {
			return s
		}
		rest = parent
	}
}

// wild looks "*."+parent up without allocating: the compiler keeps a string
// made of a small array on the stack for a map lookup.
func (r *Rules) wild(parent string) *site {
	var key [2 + maxHost]byte
	n := copy(key[:], "*.")
	n += copy(key[n:], parent)
	return r.sites[string(key[:n])]
}

// Name reports whether any entry covers host: whether the stub may answer for
// it. Whether it may be minted for is a matter of the port, see [Rules.Connect].
func (r *Rules) Name(host string) bool { return r.site(host) != nil }

// Names returns the hosts, and "*." patterns, whose TLS is inspected, sorted,
// and whether the list is complete for the whole session. It is never nil.
func (r *Rules) Names() (names []string, closed bool) { return slices.Clone(r.names), true }

// Declared returns the networks of address entries, without duplicates.
func (r *Rules) Declared() []netip.Prefix { return slices.Clone(r.declared) }

// Connect judges a connection to port of host.
func (r *Rules) Connect(host string, port uint16) Connect {
	g, reason := r.gate(host, port)
	if g == nil {
		return Connect{Reason: reason}
	}
	return g.connect
}

// gate returns nil and the reason of the refusal where nothing is declared.
func (r *Rules) gate(host string, port uint16) (*gate, string) {
	s := r.site(host)
	switch {
	case s == nil:
		return nil, ReasonHost
	case s.ports[port] != nil:
		return s.ports[port], ReasonAllowed
	case port == portHTTP && s.inspectsTLS():
		return nil, ReasonPlaintext
	}
	return nil, ReasonPort
}

// Address judges a connection to an address of a declared network. An address
// written as IPv4 in IPv6 is the IPv4 address.
func (r *Rules) Address(to netip.AddrPort) Connect {
	address := to.Addr().Unmap()
	known := false
	for i := range r.networks {
		n := &r.networks[i]
		if !n.prefix.Contains(address) {
			continue
		}
		if n.port == to.Port() {
			return n.connect
		}
		known = true
	}
	if known {
		return Connect{Reason: ReasonPort}
	}
	return Connect{Reason: ReasonAddress}
}

// Request judges one request on a connection that [Rules.Connect] allowed.
func (r *Rules) Request(q Request) Verdict {
	g, reason := r.gate(q.Host, q.Port)
	switch {
	case g == nil:
		return refuse(reason, http.StatusForbidden, "", "no rule of the session names this host and port")
	case g.connect.Protocol == TCP || g.connect.Passthrough:
		return refuse(ReasonProtocol, http.StatusForbidden, g.connect.Rule, "the rule passes bytes, not requests")
	case q.Credential != nil && q.Foreign:
		return refuse(ReasonDuplicate, http.StatusForbidden, g.connect.Rule, "send the session's own credential and no other")
	case q.Credential != nil:
		return g.withCredential(q)
	case q.Foreign && !g.foreign:
		return refuse(ReasonForeign, http.StatusForbidden, g.connect.Rule,
			"only the session's placeholders pass here; foreign_credentials: allow would let others pass")
	case q.Foreign || g.listed:
		v := g.list.judge(q.Method, q.Path, g.entry)
		if q.Carries && v.Allow {
			v = g.list.judge(http.MethodPost, q.Path, g.entry)
		}
		return v
	}
	return g.bare(q)
}

func (g *gate) withCredential(q Request) Verdict {
	for _, b := range g.bound {
		if b.credential.Name == q.Credential.Name {
			return b.list.judge(q.Method, q.Path, b.credential.Rule)
		}
	}
	if g.connect.Protocol == HTTP {
		return refuse(ReasonPlaintext, http.StatusForbidden, g.connect.Rule, "a credential never goes over plain HTTP")
	}
	return refuse(ReasonUnbound, http.StatusForbidden, g.connect.Rule, "the credential is not bound to this host and port")
}

// bare judges a request without credential to a host that has one.
func (g *gate) bare(q Request) Verdict {
	if _, form := readPath(q.Path); form == malformed {
		return refuse(ReasonTarget, http.StatusBadRequest, g.connect.Rule, "send an absolute path in its percent-encoded form")
	}
	if g.anonymous == AnonymousRead && !q.Carries && isRead(q.Method, q.Path) {
		return Verdict{Allow: true, Reason: ReasonAllowed, Rule: g.connect.Rule}
	}
	v := refuse(ReasonNoCredential, http.StatusUnauthorized, g.connect.Rule, "send the placeholder of the credential that is bound to this host")
	v.Challenge = g.challenge
	return v
}

// isRead is what anonymous: read lets pass: reads, and a fetch by git, which
// posts what it has to the path git's protocol fixes (gitprotocol-http).
func isRead(method, path string) bool {
	switch method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodPost:
		_, form := readPath(path)
		return form == plain && strings.HasSuffix(path, "/git-upload-pack")
	}
	return false
}

// Target says how host is dialled, or has an empty Connect where port of host is
// not declared, nor an endpoint of the proxy's own. An address in hosts.connect is its own allowance; a name there
// is resolved and needs networks like any other.
func (r *Rules) Target(host string, port uint16) Target {
	g, _ := r.gate(host, port)
	if g == nil {
		if port != portHTTPS || !slices.Contains(r.endpoints, host) {
			return Target{}
		}
		g = &gate{}
	}
	t := Target{Connect: joinPort(host, port), Networks: slices.Concat(r.upstream, g.networks), Near: len(g.networks) > 0}
	where, ok := r.targets[host]
	if !ok {
		return t
	}
	t.CA = where.CA
	if where.Connect == "" {
		return t
	}
	t.Connect, t.Near = where.Connect, true
	if _, ok := hostOrAddress(where.Connect); ok {
		t.Connect = joinPort(where.Connect, port)
	}
	if at, err := netip.ParseAddrPort(t.Connect); err == nil {
		t.Networks = append(t.Networks, netip.PrefixFrom(at.Addr(), at.Addr().BitLen()))
	}
	return t
}
