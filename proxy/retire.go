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
	"time"

	"golang.org/x/sys/unix"
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
	if !u.makeRoom() {
		return nil, errNoRoom
	}
	conn, err := u.dialer.dialName(ctx, network, address)
	if err != nil {
		u.room.Give()
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
		c.upstream.room.Give()
	})
	return c.err
}

// errNoRoom is the session's own doing, or that of others it shares the process
// with.
var errNoRoom = errors.New("too many connections to upstreams are open")

// makeRoom takes the room of one connection, that of an idle one if need be.
func (u *upstream) makeRoom() bool {
	if u.room.Take() {
		return true
	}
	for _, p := range u.pools() {
		p.dropIdle()
	}
	return u.room.Take()
}

// pools are all that connections are kept in.
func (u *upstream) pools() []*connPool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.AppendSeq([]*connPool{u.common}, maps.Values(u.extra))
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

// expectAcks ends a connection whose other side, or the way to it, is gone: the
// requests of a whole name share it. It is an error of the next read or write
// when nothing was acknowledged for upstreamAcks, be it data or the probes that
// the dialler's keepalive sends. Through a proxy it is about the way to that.
func expectAcks(conn net.Conn) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		// Where it is not taken, requests have deadlines of their own.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(upstreamAcks/time.Millisecond))
	})
}

// enter and leave are around each request.
func (u *upstream) enter() { u.users.Add(1) }

func (u *upstream) leave() {
	if u.users.Add(-1) == 0 && u.retired.Load() {
		u.closeAll()
		u.gone()
	}
}

// retire closes the connections when the last request has left.
func (u *upstream) retire() {
	u.retired.Store(true)
	u.closeIdle()
	if u.users.Load() == 0 {
		u.closeAll()
		u.gone()
	}
}

// end is for an upstream without a request whose values are as good as before.
func (u *upstream) end() {
	u.closeIdle()
	u.closeAll()
}

// closeIdle has the pools keep no connection from now on either.
func (u *upstream) closeIdle() {
	for _, p := range u.pools() {
		p.CloseIdleConnections()
	}
}

func (u *upstream) closeAll() {
	u.opening.Lock()
	conns := slices.Collect(maps.Keys(u.open))
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
