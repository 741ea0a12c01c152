// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// Sizes and deadlines of one HTTP/1.1 connection of the agent.
const (
	h1ReadBuffer  = 4 << 10
	h1WriteBuffer = 16 << 10 // one TLS record
	// maxDrain is how much of a body that nobody wanted is read, so that the
	// connection can be kept.
	maxDrain     = 256 << 10
	drainTimeout = 2 * time.Second
)

var (
	h1Readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, h1ReadBuffer) }}
	h1Writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, h1WriteBuffer) }}
	h1Blocks  = sync.Pool{New: func() any { return new([]byte) }}
)

// h1 serves one HTTP/1.1 connection. It admits one strict head, then exactly
// that request's body, then the next head: a pipelined request is judged by
// itself, after the answer to the one before.
type h1 struct {
	server *Server
	conn   *agentConn
	rw     net.Conn // TLS, or the connection itself
	br     *bufio.Reader
	scheme string
	given  bool // to a WebSocket
}

// serveH1 reads requests from rw, which lies on c, until one of the two sides
// ends the connection.
func (s *Server) serveH1(c *agentConn, rw net.Conn, scheme string) {
	l := &h1{server: s, conn: c, rw: rw, scheme: scheme}
	l.br = h1Readers.Get().(*bufio.Reader)
	l.br.Reset(rw)
	for l.next() {
	}
	l.linger()
	l.br.Reset(nil)
	h1Readers.Put(l.br)
}

// linger lets the client read the last answer: closing with unread bytes in
// the socket would reset it away.
func (l *h1) linger() {
	if cw, ok := l.rw.(closeWriter); ok && !l.given {
		cw.CloseWrite()
		l.rw.SetReadDeadline(time.Now().Add(drainTimeout))
		io.CopyN(io.Discard, l.br, maxDrain)
	}
	l.rw.Close()
}

// next serves one request and reports whether there may be another.
func (l *h1) next() bool {
	l.rw.SetReadDeadline(time.Now().Add(idleTimeout))
	l.conn.waiting.Store(true) // behind the deadline, which would undo that of wake
	if l.server.draining.Load() {
		if l.conn.begun.Load() {
			return false
		}
		l.rw.SetReadDeadline(l.conn.lastCall())
	}
	first, err := l.br.Peek(1)
	l.conn.waiting.Store(false)
	if err != nil {
		return false
	}
	l.conn.begun.Store(true)
	if !isLetter(first[0]) { // TLS, say: it may have no line feed to wait for
		l.refuseHead(malformed(audit.ReasonBadRequest, "not the beginning of a request"))
		return false
	}
	l.rw.SetReadDeadline(time.Now().Add(headTimeout))
	h, err := l.readHead()
	if err != nil {
		l.refuseHead(err)
		return false
	}
	return l.serve(h)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func (l *h1) readHead() (*head, error) {
	block := h1Blocks.Get().(*[]byte)
	defer h1Blocks.Put(block)
	var err error
	*block, err = readBlock(l.br, (*block)[:0], l.server.limits.HeaderBytes)
	defer func() { clear(*block) }() // a foreign credential is none of ours to keep
	if err != nil {
		return nil, err
	}
	return parseHead(*block)
}

// refuseHead answers a head that is not admitted, and records it. The
// connection ends: where such a request ends is anybody's guess.
func (l *h1) refuseHead(err error) {
	x := &exchange{conn: l.conn, proto: "http/1.1", scheme: l.scheme, cancel: func() {}}
	w := l.writer(x, true)
	defer w.free()
	x.out = w
	x.begin()
	defer l.server.finish(x)
	r := headRefusal(err)
	var h *headError
	if !errors.As(err, &h) { // the connection broke, or was too slow
		x.record.Verdict, x.record.Reason = audit.Deny, audit.ReasonBadRequest
		if errors.Is(err, os.ErrDeadlineExceeded) {
			x.record.Reason = audit.ReasonTimeout
		}
		return
	}
	l.server.refuse(x, r)
}

// serve serves the request that h begins.
func (l *h1) serve(h *head) bool {
	x := &exchange{
		conn: l.conn, proto: "http/1.1", scheme: l.scheme,
		method: h.method, target: h.target, authority: h.host,
		header: h.header, length: h.length, expect: h.expect, upgrade: h.upgrade,
	}
	w := l.writer(x, h.close || l.server.draining.Load())
	defer w.free()
	x.out = w
	l.body(x, w)
	ctx, cancel := context.WithCancel(l.server.ctx)
	defer cancel()
	x.cancel = cancel
	w.watch = l.watch(x.body, cancel)
	err := l.server.exchange(ctx, x)
	w.watch.stop()
	cancel()
	complete := x.body.stop()
	return err == nil && !w.close && !l.given && (complete || l.drain(x))
}

// body gives x the request's body, framed as its head said.
func (l *h1) body(x *exchange, w *h1Writer) {
	var src io.Reader
	if x.length < 0 {
		src = &chunkReader{br: l.br}
	} else {
		src = &lengthReader{br: l.br, n: x.length}
	}
	x.body = newRequestBody(src)
	if x.length == 0 {
		eof := io.EOF
		x.body.outcome.Store(&eof)
		return
	}
	x.body.interrupt = func() { l.rw.SetReadDeadline(time.Unix(1, 0)) }
	x.body.before = func() error {
		l.rw.SetReadDeadline(time.Now().Add(readTimeout))
		if x.expect {
			return w.proceed()
		}
		return nil
	}
}

// drain reads what is left of a body that nobody wanted, within reason.
func (l *h1) drain(x *exchange) bool {
	if x.body.ended() || x.length-x.body.count() > maxDrain {
		return false
	}
	l.rw.SetReadDeadline(time.Now().Add(drainTimeout))
	n, err := io.CopyN(io.Discard, x.body.src, maxDrain)
	return err == io.EOF || err == nil && n == x.length-x.body.count()
}

// watchDelay is how long an exchange goes on before anybody looks whether its
// client is still there. Most have ended by then, and cost no goroutine.
const watchDelay = 250 * time.Millisecond

// watch ends an exchange whose client has left, so that an answer nobody reads
// is not paid for.
type watch struct {
	conn   *h1
	body   *requestBody
	cancel context.CancelFunc
	timer  *time.Timer

	mu      sync.Mutex
	stopped bool
	done    chan struct{} // not nil: reading
}

func (l *h1) watch(body *requestBody, cancel context.CancelFunc) *watch {
	w := &watch{conn: l, body: body, cancel: cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(l.server.patience, w.run)
	return w
}

// run waits for a byte or the end, once the body has been read.
func (w *watch) run() {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	if !w.body.ended() {
		w.timer.Reset(w.conn.server.patience)
		w.mu.Unlock()
		return
	}
	w.done = make(chan struct{})
	w.mu.Unlock()
	defer close(w.done)
	w.conn.rw.SetReadDeadline(time.Time{})
	if w.halted() {
		return // stop has set its deadline before ours
	}
	if _, err := w.conn.br.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.cancel()
	}
}

func (w *watch) halted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}

// stop ends the watch and returns when it reads no more. Whatever it has read
// is in the connection's buffer.
func (w *watch) stop() {
	w.timer.Stop()
	w.mu.Lock()
	w.stopped = true
	done := w.done
	w.mu.Unlock()
	if done != nil {
		w.conn.rw.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}
