// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Deadlines of the agent's leg.
const (
	handshakeTimeout = 10 * time.Second // from accept to the end of the handshake
	headTimeout      = 30 * time.Second // from a head's first byte to its last
	idleTimeout      = 3 * time.Minute  // between two requests
	readTimeout      = 5 * time.Minute  // between two reads of a request's body
	writeTimeout     = 5 * time.Minute  // for one write to a client that does not read
)

// agentConn is one accepted connection and what was decided about it before a
// byte of it was read. It lies under TLS, so that whoever closes the top closes
// it too and frees its slot, exactly once.
type agentConn struct {
	net.Conn
	server  *Server
	id      string // of the record about the connection itself
	start   time.Time
	origin  Origin
	host    string // canonical name, or the address for a declared one
	port    uint16
	named   bool // host is a name
	connect policy.Connect
	refused audit.Reason // why the handshake was refused, when it was us

	// generation is what connect was judged by. It, connect, and what is below
	// are written under mu, the former once.
	generation *generation
	mu         sync.Mutex
	identified bool
	tunnel     bool        // bytes are passed, not requests
	exchanges  []*exchange // under way

	chosen  atomic.Pointer[transport]
	waiting atomic.Bool // for the next request, over HTTP/1.1
	begun   atomic.Bool // there was a first one

	once sync.Once
	err  error
}

// Close closes the connection and gives its slot back.
func (c *agentConn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		c.server.release(c)
	})
	return c.err
}

// transport is what the last request was sent by.
type transport struct {
	of *upstream
	*connPool
}

// transport chooses once for each generation.
func (c *agentConn) transport(of *upstream) (*connPool, error) {
	if t := c.chosen.Load(); t != nil && t.of == of {
		return t.connPool, nil
	}
	t, err := of.transport(c.host, c.port)
	if err != nil {
		return nil, err
	}
	c.chosen.Store(&transport{of, t})
	return t, nil
}

// CloseWrite ends the direction to the agent.
func (c *agentConn) CloseWrite() error {
	if cw, ok := c.Conn.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return nil
}

// reset closes so that the client gets an error at once and not an orderly end.
func (c *agentConn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// authority is the connection's name as a Host field: with its port when it is
// not the scheme's own.
func (c *agentConn) authority() string {
	if c.port == 443 && c.connect.Protocol == policy.HTTPS || c.port == 80 && c.connect.Protocol == policy.HTTP {
		return c.host
	}
	return joinHostPort(c.host, c.port)
}

// record begins a record about the connection or a request on it.
func (c *agentConn) record(kind audit.Kind) audit.Record {
	r := audit.Record{
		Kind: kind,
		PID:  c.origin.PID,
		UID:  c.origin.UID,
		Comm: c.origin.Comm,
		Port: c.port,
		Rule: c.connect.Rule,
	}
	if c.named {
		r.Name = c.host
	}
	if c.origin.Dst.IsValid() {
		r.Address = c.origin.Dst.Addr().String()
	}
	return r
}

// note writes the one record of a connection that is not read as HTTP, or that
// was refused.
func (c *agentConn) note(reason audit.Reason, in, out int64) {
	r := c.record(audit.KindConnect)
	r.ID, r.Proto, r.Reason = c.id, "tcp", reason
	r.Verdict = audit.Deny
	if reason == audit.ReasonAllowed {
		r.Verdict = audit.Allow
	}
	r.BytesIn, r.BytesOut, r.MS = uint64(in), uint64(out), milliseconds(c.start)
	c.server.write(r)
}

// refuse notes why and resets.
func (c *agentConn) refuse(reason audit.Reason) {
	c.note(reason, 0, 0)
	c.reset()
}

func milliseconds(start time.Time) float64 {
	return float64(time.Since(start)) / float64(time.Millisecond)
}
