// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/scrub"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// Group is the servers of all sessions under one policy. They have its rules,
// its credentials, and what answers are searched for in common, and nothing
// that a request leaves behind: connections, TLS tickets, cookies, captured
// credentials and names are each server's own.
type Group struct {
	config    Config
	scrubber  *scrub.Scrubber // the parent of those of the servers
	forgetter forgetter
	ctx       context.Context // ended by Close
	cancel    context.CancelFunc
	own       atomic.Pointer[upstream] // of requests that belong to no session

	mu          sync.Mutex // held while rules or servers change
	rules       Rules
	credentials *swap.Set
	searchAll   bool // see [generation]
	servers     map[*Server]struct{}
	closed      bool
}

// Session is what a [Server] has of its own. No field may be nil, but for Share.
type Session struct {
	Names Names
	Sink  audit.Sink
	// Origin says where the agent meant to connect; [KernelOrigin] in a
	// session, something injected in tests.
	Origin func(net.Conn) (Origin, error)
	Share  *Share // of what the process can serve at once; nil: the session's limits alone count
}

// NewGroup makes a Group without servers.
func NewGroup(config Config) (*Group, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	config.defaults()
	g := &Group{config: config, rules: config.Rules, credentials: config.Credentials, servers: make(map[*Server]struct{})}
	var err error
	if g.scrubber, err = newScrubber(config.Credentials); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.own.Store(newUpstream(config, g.forgetter.begin))
	if err := g.bindMinters(config.Credentials); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	return g, nil
}

// NewServer makes the broker of one more session; nothing runs until
// [Server.Serve].
func (g *Group) NewServer(session Session) (*Server, error) {
	if err := session.check(); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	s := &Server{
		group: g, names: session.Names, sink: session.Sink, origin: session.Origin,
		ca: g.config.CA, limits: g.config.Limits, logger: g.config.Logger, keep: g.config.Keep,
		vault:   vault{names: make(map[string]bool)},
		cookies: newCookies(), patience: watchDelay,
		slots: slots{
			all:  make(chan struct{}, g.config.Limits.Connections),
			room: Room{share: session.Share, certain: certainConnections, each: perConnection},
		},
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*agentConn]struct{}),
	}
	s.scrubber = g.scrubber.Child(s.noteGuessing)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, fmt.Errorf("make proxy: %w", ErrClosed)
	}
	if !session.Share.take(partOfOne) {
		return nil, fmt.Errorf("make proxy: %w", ErrShare)
	}
	first := &generation{rules: g.rules, upstream: g.own.Load().renew(g.rules), searchAll: g.searchAll}
	first.upstream.room = &Room{share: session.Share, certain: certainUpstream, each: 1}
	first.upstream.dialer.share = session.Share
	first.credentials.Store(g.credentials)
	s.current.Store(first)
	g.servers[s] = struct{}{}
	return s, nil
}

func (s *Session) check() error {
	switch {
	case s.Names == nil:
		return errors.New("no names")
	case s.Sink == nil:
		return errors.New("no audit sink")
	case s.Origin == nil:
		return errors.New("no origin")
	}
	return nil
}

// Reload judges by rules, swaps credentials and uses the fresh values from now
// on, in every session. The values, by credential's name, go into the
// credentials' cells. Requests under way finish, as long as rules allow them
// too; everything that rules would refuse, or send elsewhere, is ended:
// requests, WebSockets, tunnels, idle connections. What was captured stays
// usable where rules capture it too. After an error all is as it was, and the
// fresh values are still the caller's.
//
// Answers are searched for the new values, and for all before, from the next
// read on.
func (g *Group) Reload(rules Rules, credentials *swap.Set, fresh map[string]Fresh) error {
	if rules == nil || credentials == nil {
		return errors.New("reload proxy: no rules or credentials")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.teachFresh(credentials, fresh); err != nil {
		return fmt.Errorf("reload proxy: %w", err)
	}
	if err := g.bindMinters(credentials); err != nil {
		return fmt.Errorf("reload proxy: %w", err)
	}
	g.searchAll = g.searchAll || unbinds(g.credentials, credentials)
	g.rules, g.credentials = rules, credentials
	changed := g.change(func(s *Server) (old, next *generation) {
		return s.change(rules, withMinted(credentials, s.vault.rebind(rules)))
	})
	replaced := setFresh(credentials, fresh)
	for s, c := range changed {
		for _, conn := range s.open() {
			conn.tighten(c.old, c.next)
		}
		s.part(replaced)
	}
	return nil
}

// change is what became of one server's generation.
type change struct{ old, next *generation }

// change puts other generations in the place of all, the group's own upstream
// included.
func (g *Group) change(of func(*Server) (old, next *generation)) map[*Server]change {
	own := g.own.Load()
	g.own.Store(own.renew(g.rules))
	own.retire()
	changed := make(map[*Server]change, len(g.servers))
	for s := range g.servers {
		old, next := of(s)
		changed[s] = change{old, next}
	}
	return changed
}

// teachFresh makes answers be searched for values before any request can carry
// them.
func (g *Group) teachFresh(credentials *swap.Set, fresh map[string]Fresh) error {
	all := credentials.Credentials()
	for name, f := range fresh {
		at := slices.IndexFunc(all, func(c swap.Credential) bool { return c.Policy.Name == name })
		if at < 0 {
			return fmt.Errorf("credential %q: the session has none of that name", name)
		}
		if f.Value.Len() == 0 && all[at].Minter != nil {
			continue
		}
		if err := teachOne(g.scrubber, &all[at], f.Value); err != nil {
			return fmt.Errorf("credential %q: %w", name, err)
		}
	}
	return nil
}

// Do sends a request that belongs to no session, such as one for a token: see
// [mint.Upstream]. Its connections are no session's.
func (g *Group) Do(req *http.Request) (*http.Response, error) {
	u := g.own.Load()
	u.enter()
	resp, err := u.Do(req)
	if err != nil {
		u.leave()
		return nil, err
	}
	resp.Body = &ownBody{ReadCloser: resp.Body, upstream: u}
	return resp, nil
}

// leave forgets a server that is closed.
func (g *Group) leave(s *Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, there := g.servers[s]; there {
		delete(g.servers, s)
		s.slots.room.share.give(partOfOne)
	}
}

// Close closes what servers are left, and waits for logins that are being
// refreshed: what the service has rotated by then is to be stored. It may be
// called again.
func (g *Group) Close() error {
	g.cancel()
	g.mu.Lock()
	g.closed = true
	servers := make([]*Server, 0, len(g.servers))
	for s := range g.servers {
		servers = append(servers, s)
	}
	credentials := g.credentials.Credentials()
	g.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	for _, c := range credentials {
		if c.Minter != nil {
			c.Minter.Settle(settleTimeout)
		}
	}
	g.own.Load().retire()
	g.forgetter.stop()
	g.scrubber.Wipe()
	return errors.Join(errs...)
}
