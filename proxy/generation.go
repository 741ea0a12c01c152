// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// generation is what requests are judged by and sent with, from one reload to
// the next. It is replaced whole and never changed; a request keeps the one it
// was judged by. The values of credentials live in cells that generations
// share, so that a value that was replaced is used by none of them.
type generation struct {
	rules       Rules
	credentials atomic.Pointer[swap.Set] // replaced where some are captured
	upstream    *upstream
	// searchAll tells that a credential was bound to a host which it is bound to
	// no more: that host may still know it.
	searchAll bool
}

// change puts another generation in the place of the current one. Its
// connections to upstreams are new: the old ones remember fields that were sent
// on them (RFC 7541 section 2.3.2) and go where the old rules said. They are
// closed when the last request on them has ended.
func (s *Server) change(rules Rules, credentials *swap.Set) (old, next *generation) {
	s.changing.Lock()
	defer s.changing.Unlock()
	old = s.current.Load()
	if rules == nil {
		rules, credentials = old.rules, old.credentials.Load()
	}
	next = &generation{rules: rules, upstream: old.upstream.renew(rules)}
	next.searchAll = old.searchAll || unbinds(old.credentials.Load(), credentials)
	next.credentials.Store(credentials)
	s.current.Store(next)
	old.upstream.retire()
	return old, next
}

// setFresh returns the cells whose value is another one now.
func setFresh(credentials *swap.Set, fresh map[string]Fresh) (replaced []*secret.Cell) {
	for _, c := range credentials.Credentials() {
		f, ok := fresh[c.Policy.Name]
		if !ok {
			continue
		}
		if c.Minter != nil || !c.Value.Holds(f.Value) {
			replaced = append(replaced, c.Value)
		}
		if c.Minter != nil {
			c.Minter.Restart(f.Value)
		} else {
			c.Value.Set(f.Value, f.Expires)
		}
	}
	return replaced
}

// unbinds reports whether some host has a credential before and none after.
func unbinds(before, after *swap.Set) bool {
	bound := make(map[string]bool)
	for _, c := range after.Credentials() {
		for _, host := range c.Policy.Hosts {
			bound[host] = true
		}
	}
	for _, c := range before.Credentials() {
		if slices.ContainsFunc(c.Policy.Hosts, func(host string) bool { return !bound[host] }) {
			return true
		}
	}
	return false
}

// Fresh is a credential's next value. Of one that is made when it is needed it
// is what that is made from, or no value where its maker knows.
type Fresh = secret.Fresh

// open are the connections of the agent.
func (s *Server) open() []*agentConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*agentConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// judgeBy is what the rules say of the connection itself.
func (c *agentConn) judgeBy(rules Rules) policy.Connect {
	if c.named {
		return rules.Connect(c.host, c.port)
	}
	connect := rules.Address(netip.AddrPortFrom(c.origin.Dst.Addr().Unmap(), c.port))
	if connect.Protocol != policy.TCP {
		// Without a name there is nothing that a certificate could prove.
		connect.Allow = false
	}
	return connect
}

// same reports whether what was served under one verdict may go on under the
// other.
func same(a, b policy.Connect) bool {
	return b.Allow && a.Protocol == b.Protocol && a.Passthrough == b.Passthrough
}

// moved reports whether the two send the connection's name to different places.
func (c *agentConn) moved(old, next *generation) bool {
	if !c.named {
		return false
	}
	a, b := old.rules.Target(c.host, c.port), next.rules.Target(c.host, c.port)
	return a.Connect != b.Connect || string(a.CA) != string(b.CA) ||
		slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return !slices.Contains(b.Networks, p) })
}

// tighten ends what next would refuse of a connection, or send elsewhere.
func (c *agentConn) tighten(old, next *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.identified {
		return // it will be judged by next
	}
	now, moved := c.judgeBy(next.rules), c.moved(old, next)
	fits := same(c.connect, now)
	if c.tunnel && (!fits || moved) || !fits && len(c.exchanges) == 0 {
		c.Close()
		return
	}
	for _, x := range c.exchanges {
		if r := x.refusedBy(next); r != nil {
			x.end(r)
		} else if moved && x.judged {
			x.end(&refusal{reason: audit.ReasonReload})
		}
	}
}

// enter makes x known to whoever tightens the rules, and leave ends that.
func (c *agentConn) enter(x *exchange) {
	c.mu.Lock()
	c.exchanges = append(c.exchanges, x)
	c.mu.Unlock()
	x.adopt(c.server.current.Load())
}

func (c *agentConn) leave(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := slices.Index(c.exchanges, x); at >= 0 {
		c.exchanges = slices.Delete(c.exchanges, at, at+1)
	}
}

// adopt makes g what x is judged by and sent with.
func (x *exchange) adopt(g *generation) {
	if x.generation != nil {
		x.generation.upstream.leave()
	}
	g.upstream.enter()
	x.generation, x.connect = g, x.conn.connect
	if g != x.conn.generation {
		x.connect = x.conn.judgeBy(g.rules)
	}
}

// settle notes that x was judged, and judges it anew where the rules were
// replaced meanwhile: before, nobody else could have ended it.
func (s *Server) settle(x *exchange) *refusal {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	x.judged = true
	g := s.current.Load()
	if g == x.generation {
		return nil
	}
	x.adopt(g)
	return x.refusedBy(g)
}

// refusedBy is what g says against a request that was judged, and let pass, by
// another generation.
func (x *exchange) refusedBy(g *generation) *refusal {
	if !x.judged {
		return nil
	}
	if now := x.conn.judgeBy(g.rules); !same(x.conn.connect, now) {
		return connectRefusal(now)
	}
	q := x.question()
	if len(x.finding.Matched) == 0 {
		return requestRefusal(g.rules.Request(q))
	}
	for _, m := range x.finding.Matched {
		q.Credential = m.Credential.Policy
		if r := requestRefusal(g.rules.Request(q)); r != nil {
			return r
		}
	}
	return nil
}

// connectRefusal is the answer where the connection's name or port is not
// served any more as it was when the connection began.
func connectRefusal(now policy.Connect) *refusal {
	r := &refusal{status: http.StatusForbidden, reason: reasonOf(now.Reason), rule: now.Rule,
		hint: "the session's rules were replaced; connect again"}
	if now.Allow {
		r.reason = audit.ReasonProtocolNotAllowed
	}
	return r
}

// end cuts x off in the middle. The agent must not take its answer for whole.
// The caller holds the connection's lock, so that x has not ended.
func (x *exchange) end(r *refusal) {
	if !x.ended.CompareAndSwap(nil, r) {
		return
	}
	if x.socket != nil {
		x.socket.end(closePolicy)
		return
	}
	x.cancel()
	x.out.abort()
}
