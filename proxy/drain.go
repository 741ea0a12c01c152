// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Drain lets no connection begin, ends those that carry no request, and returns
// when the requests and tunnels under way have ended, or with ctx. [Server.Close]
// comes after it.
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

// wake ends an HTTP/1.1 connection that waits for its next request.
func (c *agentConn) wake() {
	if c.waiting.Load() {
		c.SetReadDeadline(time.Unix(1, 0))
	}
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
