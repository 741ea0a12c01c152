// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
)

// upstreamConn is a connection that its upstream can close when nobody needs it
// any more. That an answer was read to its end does not mean that the pool
// holds its connection for idle.
type upstreamConn struct {
	net.Conn
	upstream *upstream
	once     sync.Once
	err      error
}

// dial is the DialContext of the transports.
func (u *upstream) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := u.dialer.dialName(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &upstreamConn{Conn: conn, upstream: u}
	u.opening.Lock()
	defer u.opening.Unlock()
	u.open[c] = struct{}{}
	return c, nil
}

// Close closes the connection, once.
func (c *upstreamConn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		c.upstream.opening.Lock()
		defer c.upstream.opening.Unlock()
		delete(c.upstream.open, c)
	})
	return c.err
}

// SyscallConn lets a pool look whether something came.
func (c *upstreamConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite ends the direction to the upstream.
func (c *upstreamConn) CloseWrite() error {
	if cw, ok := c.Conn.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return nil
}

// enter and leave are around each request.
func (u *upstream) enter() { u.users.Add(1) }

func (u *upstream) leave() {
	if u.users.Add(-1) == 0 && u.retired.Load() {
		u.closeAll()
	}
}

// retire closes the connections when the last request has left.
func (u *upstream) retire() {
	u.retired.Store(true)
	u.mu.Lock()
	all := slices.AppendSeq([]*connPool{u.common}, maps.Values(u.extra))
	u.mu.Unlock()
	for _, t := range all {
		t.CloseIdleConnections() // they keep none from now on either
	}
	if u.users.Load() == 0 {
		u.closeAll()
	}
}

func (u *upstream) closeAll() {
	defer u.gone()
	u.opening.Lock()
	conns := make([]*upstreamConn, 0, len(u.open))
	for c := range u.open {
		conns = append(conns, c)
	}
	u.opening.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// ownBody keeps the connections of its upstream for as long as it is read.
type ownBody struct {
	io.ReadCloser
	upstream *upstream
	once     sync.Once
}

func (b *ownBody) Close() error {
	defer b.once.Do(b.upstream.leave)
	return b.ReadCloser.Close()
}
