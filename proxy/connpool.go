// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// connPool sends requests to the upstreams that one set of roots vouches for.
// It speaks HTTP/1.1 itself, on connections that it owns, in the goroutine of
// the exchange: net/http's two goroutines for a connection cost a third of a
// request. HTTP/2, where an upstream chooses it, is net/http's.
type connPool struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	config *tls.Config // without ALPN
	kept   int         // idle connections, at most
	h2     *http.Transport

	mu       sync.Mutex
	closed   bool
	idle     map[string][]*upConn   // by the URL's host and port, the longest idle first
	speaksH2 map[string]bool        // by the same
	ready    map[string][]*tls.Conn // that chose h2, for net/http to take, by HOST:PORT
	reaper   *time.Timer
}

func newConnPool(dial func(context.Context, string, string) (net.Conn, error), config *tls.Config, kept int) *connPool {
	p := &connPool{
		dial: dial, config: config, kept: kept,
		idle: make(map[string][]*upConn), speaksH2: make(map[string]bool), ready: make(map[string][]*tls.Conn),
	}
	// No pings: the timer of the next one keeps a connection that was closed, and
	// so the fields sent on it, in memory until it fires (Go 1.26). See expectAcks.
	p.h2 = &http.Transport{
		Proxy:                  nil,
		DialTLSContext:         p.takeH2,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           kept,
		MaxIdleConnsPerHost:    kept, // Go's 2 costs two of three busy peers a handshake
		IdleConnTimeout:        upstreamIdle,
		ResponseHeaderTimeout:  upstreamHead,
		ExpectContinueTimeout:  expectContinue,
		MaxResponseHeaderBytes: upstreamHeaders,
		WriteBufferSize:        upstreamBuffer,
		ReadBufferSize:         upstreamBuffer,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: upstreamWindow},
	}
	return p
}

// RoundTrip sends one request and returns the head of its answer.
func (p *connPool) RoundTrip(req *http.Request) (*http.Response, error) {
	key := req.URL.Host // of https
	if req.URL.Scheme != "https" {
		key = req.URL.Scheme + "://" + key
	}
	upgrade := len(req.Header["Upgrade"]) > 0 // h2 has none
	for {
		c, h2 := p.takeIdle(key, upgrade)
		if c == nil && !h2 {
			var err error
			if c, err = p.open(req, key, upgrade); err != nil {
				return nil, err
			}
		}
		if c == nil {
			return p.h2.RoundTrip(req)
		}
		resp, err := c.exchange(req)
		if err == nil || !c.reused || !errors.Is(err, errStale) || !replayable(req) {
			return resp, err
		}
		if req.GetBody != nil {
			again := *req
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
			req = &again
		}
	}
}

// replayable reports whether a request may be sent twice (RFC 9110 section
// 9.2.2), and can be.
func replayable(req *http.Request) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return len(req.Header["Idempotency-Key"]) > 0 || len(req.Header["X-Idempotency-Key"]) > 0
}

// open makes a connection that speaks HTTP/1.1, or none where the upstream
// chose h2.
func (p *connPool) open(req *http.Request, key string, upgrade bool) (*upConn, error) {
	address, ctx := req.URL.Host, req.Context()
	if req.URL.Port() == "" {
		address = net.JoinHostPort(address, defaultPort(req.URL.Scheme))
	}
	raw, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	probe := newProbeConn(raw)
	if req.URL.Scheme != "https" {
		return &upConn{pool: p, key: key, conn: probe, probe: probe}, nil
	}
	protocols := []string{"h2", "http/1.1"}
	if upgrade {
		protocols = protocols[1:]
	}
	conn, err := p.handshake(ctx, probe, address, protocols)
	if err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		expectAcks(raw)
		p.giveH2(key, address, conn)
		return nil, nil
	}
	return &upConn{pool: p, key: key, conn: conn, probe: probe}, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// handshake verifies that the upstream is who address names.
func (p *connPool) handshake(ctx context.Context, raw net.Conn, address string, protocols []string) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("split address %q: %w", address, err)
	}
	config := p.config.Clone()
	config.ServerName, config.NextProtos = host, protocols
	ctx, cancel := context.WithTimeout(ctx, upstreamHandshake)
	defer cancel()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// giveH2 notes that key speaks h2 and leaves conn for net/http.
func (p *connPool) giveH2(key, address string, conn *tls.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.speaksH2[key] { // somebody was faster
		conn.Close()
		return
	}
	p.speaksH2[key] = true
	p.ready[address] = append(p.ready[address], conn)
}

// takeH2 is net/http's way to a TLS connection.
func (p *connPool) takeH2(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	if ready := p.ready[address]; len(ready) > 0 {
		p.ready[address] = ready[1:]
		p.mu.Unlock()
		return ready[0], nil
	}
	p.mu.Unlock()
	raw, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn, err := p.handshake(ctx, raw, address, []string{"h2", "http/1.1"})
	if err != nil {
		return nil, err
	}
	expectAcks(raw)
	return conn, nil
}

// takeIdle returns the connection that was used last, if it is quiet: its
// windows are open. Or it says that the upstream speaks h2, which an upgrade has
// no use for.
func (p *connPool) takeIdle(key string, upgrade bool) (c *upConn, h2 bool) {
	for {
		p.mu.Lock()
		list := p.idle[key]
		if h2 = p.speaksH2[key] && !upgrade; h2 || len(list) == 0 {
			p.mu.Unlock()
			return nil, h2
		}
		c, list[len(list)-1] = list[len(list)-1], nil
		p.idle[key] = list[:len(list)-1]
		p.mu.Unlock()
		if c.quiet() {
			return c, false
		}
		c.close()
	}
}

// keep takes a connection that is ready for another request.
func (p *connPool) keep(c *upConn) {
	c.reused, c.since = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.close()
		return
	}
	if p.count() >= p.kept {
		p.dropLongest()
	}
	p.idle[c.key] = append(p.idle[c.key], c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(upstreamIdle, p.reap)
	}
}

// count is how many are idle. The names of a session that answer are few.
func (p *connPool) count() (n int) {
	for _, list := range p.idle {
		n += len(list)
	}
	return n
}

// dropLongest closes the connection that was idle the longest, of whatever name:
// an agent that goes from name to name must not keep connections of all of them.
func (p *connPool) dropLongest() {
	longest := ""
	for key, list := range p.idle {
		if len(list) > 0 && (longest == "" || list[0].since.Before(p.idle[longest][0].since)) {
			longest = key
		}
	}
	list := p.idle[longest]
	list[0].close()
	if p.idle[longest] = slices.Delete(list, 0, 1); len(p.idle[longest]) == 0 {
		delete(p.idle, longest)
	}
}

// dropIdle closes the connection that was idle the longest, and what net/http has
// idle or has not taken: the request that a connection was made for may have ended.
func (p *connPool) dropIdle() {
	p.mu.Lock()
	if p.count() > 0 {
		p.dropLongest()
	}
	p.dropReady()
	p.mu.Unlock()
	p.h2.CloseIdleConnections()
}

func (p *connPool) dropReady() {
	for _, list := range p.ready {
		for _, c := range list {
			c.Close()
		}
	}
	clear(p.ready)
}

// reap closes what has been idle for long, and comes again while there is more.
func (p *connPool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := 0
	for key, list := range p.idle {
		list = slices.DeleteFunc(list, func(c *upConn) bool {
			old := time.Since(c.since) >= upstreamIdle
			if old {
				c.close()
			}
			return old
		})
		left += len(list)
		if p.idle[key] = list; len(list) == 0 {
			delete(p.idle, key)
		}
	}
	p.reaper = nil
	if left > 0 && !p.closed {
		p.reaper = time.AfterFunc(upstreamIdle/4, p.reap)
	}
}

// CloseIdleConnections closes what no request uses, and keeps nothing from now
// on.
func (p *connPool) CloseIdleConnections() {
	p.mu.Lock()
	p.closed = true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	for _, list := range p.idle {
		for _, c := range list {
			c.close()
		}
	}
	p.dropReady()
	p.idle = nil
	p.mu.Unlock()
	p.h2.CloseIdleConnections()
}
