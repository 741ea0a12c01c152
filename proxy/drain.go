// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// firstGrace is how long a connection that was accepted before the drain may take
// for its first request, which most clients send behind the handshake.
const firstGrace = time.Second

// Drain lets no connection begin, ends those that carry no request, and returns
// when the requests and tunnels under way have ended, or with ctx. A connection
// that was accepted and has not asked yet is answered once over HTTP/1.1; over
// HTTP/2 it is told that nothing of it was processed. [Server.Close] comes after
// it.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	listeners := make([]net.Listener, 0, len(s.listeners))
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close() // an error would say that it is closed
	}
	s.h2.drain(ctx)
	for _, c := range s.open() {
		c.wake()
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain proxy: %w", context.Cause(ctx))
	}
}

// wake ends an HTTP/1.1 connection that waits for its next request, and hurries
// one that waits for its first.
func (c *agentConn) wake() {
	if c.waiting.Load() {
		c.SetReadDeadline(c.lastCall())
	}
}

// lastCall is until when a request may come while the server drains.
func (c *agentConn) lastCall() time.Time {
	if c.begun.Load() {
		return time.Unix(1, 0)
	}
	return time.Now().Add(firstGrace)
}

// protocols are offered to a client: what ends with one answer, while the server
// drains.
func (s *Server) protocols() []string {
	if s.draining.Load() {
		return []string{"http/1.1"}
	}
	return []string{"h2", "http/1.1"}
}

// goAway is an HTTP/2 server's SETTINGS and a GOAWAY before the first stream (RFC
// 9113 sections 6.5 and 6.8): the client may ask again elsewhere, or later.
const goAway = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
	"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// sendAway refuses a connection that chose HTTP/2 before the drain began.
func sendAway(conn *tls.Conn) {
	conn.SetDeadline(time.Now().Add(drainTimeout))
	if _, err := io.WriteString(conn, goAway); err != nil || conn.CloseWrite() != nil {
		return
	}
	// Closed with bytes unread, it would be a reset.
	io.CopyN(io.Discard, conn, maxDrain)
}

// drain has the clients told by GOAWAY (RFC 9113 section 6.8), where there are
// any.
func (h *h2Server) drain(ctx context.Context) {
	h.once.Do(func() { h.err = ErrClosed })
	if h.server != nil {
		// It knows of no listener and no connection to wait for.
		_ = h.server.Shutdown(ctx)
	}
}
