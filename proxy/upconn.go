// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errStale is wrapped when a connection ended before the first byte of an
// answer came.
var errStale = errors.New("upstream ended the connection without an answer")

// upConn is one HTTP/1.1 connection to an upstream. It serves one request at a
// time and belongs to its exchange, or to the pool.
type upConn struct {
	pool   *connPool
	key    string
	conn   net.Conn // TLS, or probe itself
	probe  *probeConn
	reused bool
	since  time.Time // idle

	br      *bufio.Reader // while an exchange is under way
	sending *sending      // nil: the request had no body to send beside
	once    sync.Once
}

func (c *upConn) close() { c.once.Do(func() { c.conn.Close() }) }

// quiet reports whether an idle connection is still open, and nothing has come
// that no request asked for: whoever asked next would take it for his answer.
func (c *upConn) quiet() bool {
	c.probe.begin()
	var one [1]byte
	n, err := c.conn.Read(one[:])
	return c.probe.end() && n == 0 && errors.Is(err, errNothing)
}

// errNothing is what a probe finds on a quiet connection. It is temporary, or
// crypto/tls would not read on.
var errNothing error = nothingYet{}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing to read" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

// probeConn lies under TLS, and can look for bytes without waiting for them.
type probeConn struct {
	net.Conn
	raw     syscall.RawConn // nil: it cannot look
	probing bool
	seen    bool // a probe found bytes, the end, or an error
	one     byte
	look    func(fd uintptr) bool
}

func newProbeConn(conn net.Conn) *probeConn {
	p := &probeConn{Conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn() // an error leaves it nil
	}
	p.look = func(fd uintptr) bool {
		_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p.one)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		p.seen = errno != unix.EAGAIN
		return true
	}
	return p
}

func (p *probeConn) begin() { p.probing, p.seen = true, p.raw == nil }

// end reports whether the probe found the connection quiet.
func (p *probeConn) end() bool { p.probing = false; return !p.seen }

func (p *probeConn) Read(b []byte) (int, error) {
	if !p.probing {
		return p.Conn.Read(b)
	}
	if p.raw != nil {
		if err := p.raw.Read(p.look); err != nil {
			p.seen = true
		}
	}
	return 0, errNothing
}

// CloseWrite ends the direction to the upstream of a connection without TLS.
func (p *probeConn) CloseWrite() error {
	if cw, ok := p.Conn.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

var upReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, upstreamBuffer) }}

// exchange sends req and reads the head of its answer. After an error the
// connection is closed. The body of the answer gives it back to the pool.
func (c *upConn) exchange(req *http.Request) (*http.Response, error) {
	c.br = upReaders.Get().(*bufio.Reader)
	c.br.Reset(c.conn)
	ctx := req.Context()
	stop := context.AfterFunc(ctx, c.close)
	resp, err := c.converse(req, stop)
	if err == nil {
		return resp, nil
	}
	stop()
	c.close()
	c.finish(false)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

func (c *upConn) converse(req *http.Request, stop func() bool) (*http.Response, error) {
	if err := c.send(req); err != nil {
		return nil, err
	}
	resp, closes, err := c.answer(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &upgraded{c, stop}
		return resp, nil
	}
	body := &answerBody{conn: c, resp: resp, stop: stop, keep: !closes}
	if body.src = bodyOf(c.br, resp, req.Method); body.src == nil {
		body.over(true)
		resp.Body = http.NoBody
		return resp, nil
	}
	resp.Body = body
	return resp, nil
}

// finish ends an exchange: the connection is kept, or closed.
func (c *upConn) finish(keep bool) {
	if c.sending != nil {
		keep = c.sending.ended(keep) && keep
		c.sending = nil
	}
	keep = keep && c.br.Buffered() == 0 && c.probe.raw != nil
	c.br.Reset(nil)
	upReaders.Put(c.br)
	c.br = nil
	if !keep {
		c.close()
		return
	}
	c.pool.keep(c)
}

// answerBody is the body of an answer. At its end the connection is free.
type answerBody struct {
	conn *upConn
	resp *http.Response
	src  io.Reader
	stop func() bool // of the watch over the exchange's context
	keep bool
	err  error // sticky
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if err != nil {
		if chunks, ok := b.src.(*chunkReader); ok && err == io.EOF {
			b.resp.Trailer = withTrailers(b.resp.Trailer, chunks.fields)
		}
		b.over(err == io.EOF)
		b.err = err
	}
	return n, err
}

func (b *answerBody) Close() error {
	if b.err == nil {
		b.err = errBodyClosed
		b.over(false)
	}
	return nil
}

func (b *answerBody) over(whole bool) {
	alone := b.stop()
	b.conn.finish(whole && b.keep && alone)
}

// upgraded is the connection behind a 101.
type upgraded struct {
	conn *upConn
	stop func() bool
}

func (u *upgraded) Read(p []byte) (int, error) { return u.conn.br.Read(p) }

func (u *upgraded) Write(p []byte) (int, error) {
	u.conn.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return u.conn.conn.Write(p)
}

func (u *upgraded) Close() error {
	u.stop()
	u.conn.close()
	return nil
}

func (u *upgraded) SetReadDeadline(at time.Time) error { return u.conn.conn.SetReadDeadline(at) }

func (u *upgraded) CloseWrite() error {
	if cw, ok := u.conn.conn.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
