// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// A request finishes with the value that it was sent with. A WebSocket has no
// end of its own, and its upstream goes on to take it for whoever the handshake
// said: it would use a value for long after another took its place. So it is
// closed then, and its client told to come again. Tokens that are renewed
// because they end are no rotation.

// Revoke leaves the credentials of those names, and what any session captured in
// exchange for them, without a value.
func (g *Group) Revoke(names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gone := revoke(g.credentials, names)
	for s := range g.change(func(s *Server) (old, next *generation) { return s.change(nil, nil) }) {
		s.part(append(gone, revoke(s.current.Load().credentials.Load(), names)...))
	}
}

// revoke returns the cells that have no value any more.
func revoke(credentials *swap.Set, names []string) (gone []*secret.Cell) {
	for _, c := range credentials.Credentials() {
		meant := func(name string) bool {
			return c.Policy.Name == name || c.Policy.Minted && strings.HasPrefix(c.Policy.Name, name+".")
		}
		switch {
		case !slices.ContainsFunc(names, meant):
			continue
		case c.Minter != nil:
			c.Minter.Revoke()
		default:
			c.Value.Wipe()
		}
		gone = append(gone, c.Value)
	}
	return gone
}

// part ends the WebSockets whose handshake carried a value of those cells, which
// hold another one by now or none.
func (s *Server) part(replaced []*secret.Cell) {
	if len(replaced) == 0 {
		return
	}
	for _, c := range s.open() {
		c.mu.Lock()
		for _, x := range c.exchanges {
			// One that is not judged yet takes its values later.
			if x.upgrade && x.judged && x.carries(replaced) {
				x.part()
			}
		}
		c.mu.Unlock()
	}
}

func (x *exchange) carries(cells []*secret.Cell) bool {
	return slices.ContainsFunc(x.finding.Matched, func(m swap.Match) bool { return slices.Contains(cells, m.Credential.Value) })
}

// part ends x where it has become a WebSocket, or when it does. The caller holds
// the connection's lock.
func (x *exchange) part() {
	if x.stale = true; x.socket != nil && x.ended.CompareAndSwap(nil, &refusal{reason: audit.ReasonReload}) {
		x.socket.end(closeRestart)
	}
}

// opened makes the WebSocket known to whoever ends it.
func (x *exchange) opened(w *webSocket) {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	x.socket = w
	if x.stale {
		x.part()
	}
}
