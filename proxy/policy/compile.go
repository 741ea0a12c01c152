// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

func joinPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// compiler holds what is known of every pattern while sites are built.
type compiler struct {
	bound  map[string][]*binding // by pattern
	egress map[string][]*Egress  // by pattern
}

// Compile checks a session and builds its rules. It is pure: the same session
// gives the same rules, and s is not kept. Errors begin with the rule at fault.
func Compile(s *Session) (*Rules, error) {
	r := &Rules{
		sites: make(map[string]*site), targets: make(map[string]HostTarget), signed: make(map[string]signedEndpoints),
		upstream: slices.Clone(s.Networks), names: []string{},
	}
	c := &compiler{bound: make(map[string][]*binding), egress: make(map[string][]*Egress)}
	if err := c.credentials(slices.Concat(s.Credentials, s.Logins), r); err != nil {
		return nil, err
	}
	if err := c.destinations(s.Egress, r); err != nil {
		return nil, err
	}
	for _, h := range s.Hosts {
		if err := checkTarget(h); err != nil {
			return nil, err
		}
		h.CA = slices.Clone(h.CA)
		r.targets[h.Host] = h
	}
	for _, host := range s.Endpoints {
		if err := checkPattern(host, "endpoints"); err != nil || strings.HasPrefix(host, "*.") {
			return nil, cmp.Or(err, errors.New("endpoints: a host stands for itself alone"))
		}
		r.endpoints = append(r.endpoints, host)
	}
	for pattern := range c.patterns() {
		built, err := c.site(pattern)
		if err != nil {
			return nil, err
		}
		r.sites[pattern] = built
		if built.inspectsTLS() {
			r.names = append(r.names, pattern)
		}
	}
	slices.Sort(r.names)
	return r, nil
}

func (s *site) inspectsTLS() bool {
	for _, g := range s.ports {
		if g.connect.Protocol == HTTPS && !g.connect.Passthrough {
			return true
		}
	}
	return false
}

func (c *compiler) patterns() map[string]bool {
	out := make(map[string]bool)
	for pattern := range c.bound {
		out[pattern] = true
	}
	for pattern := range c.egress {
		out[pattern] = true
	}
	return out
}

// checkPattern refuses what [Resolve] never produces: a session may have come
// through a pipe.
func checkPattern(pattern, rule string) error {
	name, err := canonicalPattern(pattern)
	if err == nil && name != pattern {
		err = fmt.Errorf("%w: not canonical", ErrHost)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", rule, err)
	}
	return nil
}

func (c *compiler) credentials(all []Credential, r *Rules) error {
	seen := make(map[string]bool)
	for i := range all {
		own := all[i].clone()
		if own.Name == "" || seen[own.Name] {
			return fmt.Errorf("%s: credential %q: no name of its own", own.Rule, own.Name)
		}
		seen[own.Name] = true
		if len(own.Positions) == 0 {
			return fmt.Errorf("%s: credential %q: no position", own.Rule, own.Name)
		}
		if p, stays := own.immovable(); stays {
			return &ResolveError{own.Rule, fmt.Sprintf("credential %q: what stands in position %s cannot go out in another", own.Name, p),
				"leave outbound out, or the position"}
		}
		if err := c.bind(&own); err != nil {
			return err
		}
		if err := c.compileCaptures(&own, r); err != nil {
			return fmt.Errorf("%s: captures: %w", own.Rule, err)
		}
		if err := c.compilePair(&own, r); err != nil {
			return err
		}
	}
	return nil
}

// bind makes a credential usable at its hosts.
func (c *compiler) bind(own *Credential) error {
	l, err := compileList(own.Allow)
	if err != nil {
		return err
	}
	b := &binding{credential: own, list: l}
	for _, host := range own.Hosts {
		if err := checkPattern(host, own.Rule); err != nil {
			return err
		}
		c.bound[host] = append(c.bound[host], b)
	}
	return nil
}

func (c Credential) clone() Credential {
	c.Env, c.Hosts = slices.Clone(c.Env), slices.Clone(c.Hosts)
	c.Positions, c.Allow = slices.Clone(c.Positions), slices.Clone(c.Allow)
	c.Placeholder.Templates = slices.Clone(c.Placeholder.Templates)
	if c.Outbound != nil {
		outbound := *c.Outbound
		c.Outbound = &outbound
	}
	return c
}

func (c *compiler) destinations(all []Egress, r *Rules) error {
	for i := range all {
		e := all[i]
		switch {
		case (e.Host == "") == !e.Address.IsValid():
			return fmt.Errorf("%s: egress: neither or both of host and address", e.Rule)
		case e.Port == 0 || e.Port == portHTTP && e.Protocol != HTTP:
			return fmt.Errorf("%s: egress: port %d", e.Rule, e.Port)
		case !slices.Contains([]Protocol{HTTPS, HTTP, TCP}, e.Protocol) || e.Passthrough && e.Protocol != HTTPS:
			return fmt.Errorf("%s: egress: protocol %q", e.Rule, e.Protocol)
		case e.Host == "" && e.Protocol != TCP:
			return fmt.Errorf("%s: egress: an address is for tcp alone", e.Rule)
		}
		if e.Host == "" {
			r.addNetwork(e)
			continue
		}
		if err := c.addHost(&e); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rules) addNetwork(e Egress) {
	r.networks = append(r.networks, network{
		prefix: e.Address, port: e.Port,
		connect: Connect{Allow: true, Reason: ReasonAllowed, Protocol: TCP, Rule: e.Rule},
	})
	slices.SortStableFunc(r.networks, func(a, b network) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	if !slices.Contains(r.declared, e.Address) {
		r.declared = append(r.declared, e.Address)
	}
}

func (c *compiler) addHost(e *Egress) error {
	if err := checkPattern(e.Host, e.Rule); err != nil {
		return err
	}
	for _, other := range c.egress[e.Host] {
		if other.Port == e.Port {
			return fmt.Errorf("%s: egress: the same host and port as at %s", e.Rule, other.Rule)
		}
	}
	c.egress[e.Host] = append(c.egress[e.Host], e)
	return nil
}

func checkTarget(h HostTarget) error {
	if err := checkPattern(h.Host, h.Rule); err != nil {
		return err
	}
	if h.CAFile != "" && len(h.CA) == 0 {
		return fmt.Errorf("%s: hosts: the certificates of %q were not read", h.Rule, h.CAFile)
	}
	if len(h.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(h.CA) {
		return fmt.Errorf("%s: hosts: no certificate in %q", h.Rule, h.CAFile)
	}
	return nil
}

// chain is pattern and every pattern that matches all its hosts, most specific
// first. Whichever pattern is the most specific for a host decides which others
// match it, so that a site can be built once for all its hosts.
func chain(pattern string) []string {
	out := []string{pattern}
	for rest := strings.TrimPrefix(pattern, "*."); ; {
		_, parent, found := strings.Cut(rest, ".")
		if !found {
			return out
		}
		out = append(out, "*."+parent)
		rest = parent
	}
}

// site builds every port of the hosts whose most specific pattern is pattern.
func (c *compiler) site(pattern string) (*site, error) {
	patterns := chain(pattern)
	ports := map[uint16]bool{}
	for _, p := range patterns {
		if len(c.bound[p]) > 0 {
			ports[portHTTPS] = true
		}
		for _, e := range c.egress[p] {
			ports[e.Port] = true
		}
	}
	out := &site{ports: make(map[uint16]*gate)}
	for port := range maps.Keys(ports) {
		g, err := c.gate(patterns, port)
		if err != nil {
			return nil, err
		}
		out.ports[port] = g
	}
	return out, nil
}

// ranked are the credentials and the egress entry of one port, with the place
// in the chain of the entry and of the most specific credential.
type ranked struct {
	bound     []*binding
	best      []*binding // the most specific ones
	boundAt   int
	entry     *Egress
	entryAt   int
	entryTies bool // entry and best have the very same pattern
}

const nowhere = 1 << 30

func (c *compiler) rank(patterns []string, port uint16) ranked {
	out := ranked{boundAt: nowhere, entryAt: nowhere}
	for at, p := range patterns {
		for _, b := range c.bound[p] {
			if out.boundAt == nowhere {
				out.boundAt = at
			}
			if out.boundAt == at {
				out.best = append(out.best, b)
			}
			if !slices.Contains(out.bound, b) {
				out.bound = append(out.bound, b)
			}
		}
		for _, e := range c.egress[p] {
			if e.Port == port && out.entry == nil {
				out.entry, out.entryAt = e, at
			}
		}
	}
	out.entryTies = out.entryAt == out.boundAt && out.entry != nil
	return out
}

// gate applies the precedence that the package's documentation states.
func (c *compiler) gate(patterns []string, port uint16) (*gate, error) {
	k := c.rank(patterns, port)
	opaque := k.entry != nil && (k.entry.Protocol != HTTPS || k.entry.Passthrough)
	switch {
	case opaque && port == portHTTPS && k.entryTies:
		owner := k.best[0].credential
		return nil, &ResolveError{k.entry.Rule,
			fmt.Sprintf("egress: credential %q (%s) is bound to this host, whose requests must be seen", owner.Name, owner.Rule),
			"say protocol: https and tls: inspect, or leave the host out of the credential's hosts"}
	case opaque && port == portHTTPS && k.boundAt < k.entryAt:
		k.entry, k.entryAt = nil, nowhere
	case opaque:
		k.bound, k.best, k.boundAt = nil, nil, nowhere
	}
	if k.entry == nil && len(k.bound) == 0 {
		return nil, errors.New("policy: a port that nothing declares")
	}
	return k.build()
}

func (k *ranked) build() (*gate, error) {
	g := &gate{bound: k.bound, connect: Connect{Allow: true, Reason: ReasonAllowed, Protocol: HTTPS}}
	for _, b := range k.bound {
		c := &g.connect
		if !b.credential.Minted {
			c.Credentials = append(c.Credentials, b.credential)
		}
		if !b.credential.Endpoint {
			c.Usable = append(c.Usable, b.credential)
		}
		c.AtEndpoint = append(c.AtEndpoint, b.credential)
	}
	if e := k.entry; e != nil {
		l, err := compileList(e.Allow)
		if err != nil {
			return nil, err
		}
		g.list, g.entry, g.networks = l, e.Rule, slices.Clone(e.Networks)
		g.connect.Protocol, g.connect.Passthrough, g.connect.Rule = e.Protocol, e.Passthrough, e.Rule
		g.foreign = e.Foreign && k.entryAt <= k.boundAt
		g.listed = k.entryAt < k.boundAt
	}
	if len(k.best) == 0 || g.listed {
		return g, nil
	}
	g.connect.Rule = k.best[0].credential.Rule
	g.challenge = k.best[0].credential.Challenge
	g.anonymous = AnonymousRead
	for _, b := range k.best {
		if b.credential.Anonymous != AnonymousRead {
			g.anonymous = AnonymousDeny
		}
	}
	return g, nil
}
