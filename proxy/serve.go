// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/accept"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// ErrClosed is returned by [Server.Serve] after [Server.Close].
var ErrClosed = errors.New("proxy is closed")

// Serve accepts connections until listener or the server is closed. It may be
// called for several listeners. Being out of descriptors or memory does not end
// it.
func (s *Server) Serve(listener net.Listener) error {
	if !s.addListener(listener) {
		listener.Close()
		return ErrClosed
	}
	defer s.removeListener(listener)
	for {
		conn, err := accept.Next(s.ctx, listener.Accept, s.logger)
		switch {
		case err == nil:
			s.take(conn)
		case s.ctx.Err() != nil || s.draining.Load():
			return ErrClosed
		default:
			return fmt.Errorf("accept connection: %w", err)
		}
	}
}

// addListener counts the accept loop, too: what it has accepted as a drain begins
// is served.
func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	s.wg.Done()
}

// track counts one goroutine that Close waits for, or reports that the server
// is closed. The caller calls s.wg.Done.
func (s *Server) track() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// take gives a connection a slot and a goroutine, or refuses it.
func (s *Server) take(conn net.Conn) {
	c := &agentConn{Conn: conn, server: s, id: audit.NewID(), start: time.Now()}
	if !s.slots.take() {
		c.once.Do(func() {}) // it has no slot to give back
		s.noteLimit(c)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
		return
	}
	if !s.hold(c) {
		c.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.recoverConn(c)
		s.serveConn(c)
	}()
}

// floodPause is the least time between two records about the same limit: an
// agent that runs into it does so thousands of times in a second.
const floodPause = time.Second

// flood thins out records that are all alike.
type flood struct {
	mu         sync.Mutex
	last       time.Time
	suppressed uint64
}

// admit reports whether to write a record now, and how many were left out.
func (f *flood) admit(now time.Time) (suppressed uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.last) < floodPause {
		f.suppressed++
		return 0, false
	}
	suppressed, f.suppressed, f.last = f.suppressed, 0, now
	return suppressed, true
}

func (s *Server) noteLimit(c *agentConn) {
	suppressed, ok := s.limited.admit(c.start)
	if !ok {
		return
	}
	r := c.record(audit.KindConnect)
	r.ID, r.Proto, r.Suppressed = c.id, "tcp", suppressed
	r.Verdict, r.Reason = audit.Deny, audit.ReasonConnectionLimit
	s.write(r)
}

func (s *Server) hold(c *agentConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) release(c *agentConn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.slots.give()
}

// logPanic keeps the value to itself: it may hold anything.
func (s *Server) logPanic(v any) {
	s.logger.Error("handler panicked", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
}

// recoverConn ends one connection, and not the session, on a fault of ours.
func (s *Server) recoverConn(c *agentConn) {
	if v := recover(); v != nil {
		s.logPanic(v)
		c.refuse(audit.ReasonInternal)
	}
}

// serveConn decides about a connection before it reads a byte of it.
func (s *Server) serveConn(c *agentConn) {
	origin, err := s.origin(c.Conn)
	if err != nil {
		s.logger.Warn("look up origin", "id", c.id, "error", err)
		c.refuse(audit.ReasonOriginMissing)
		return
	}
	c.origin, c.port = origin, origin.Dst.Port()
	if s.identify(c); !c.connect.Allow {
		c.refuse(reasonOf(c.connect.Reason))
		return
	}
	switch {
	case c.connect.Protocol == policy.TCP:
		s.serveTCP(c)
	case c.connect.Passthrough:
		s.servePassthrough(c)
	default:
		s.serveHTTP(c)
	}
}

// serveHTTP reads requests, above TLS or, where the rule says so, without.
func (s *Server) serveHTTP(c *agentConn) {
	switch c.connect.Protocol {
	case policy.HTTP:
		s.serveH1(c, c, "http")
	case policy.HTTPS:
		s.serveTLS(c)
	default:
		c.refuse(audit.ReasonProtocolNotAllowed)
	}
}

// identify finds the name behind the address, or takes the address as declared,
// and asks the rules.
func (s *Server) identify(c *agentConn) {
	addr := c.origin.Dst.Addr().Unmap()
	if name, ok := s.names.Name(addr); ok {
		c.host, c.named = name, true
	} else {
		c.host = addr.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation = s.current.Load()
	c.connect = c.judgeBy(c.generation.rules)
	c.identified, c.tunnel = true, c.connect.Protocol == policy.TCP || c.connect.Passthrough
}
