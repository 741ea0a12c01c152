// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// nothing is a listener that has ended.
type nothing struct{}

func (nothing) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nothing) Close() error              { return nil }
func (nothing) Addr() net.Addr            { return &net.TCPAddr{} }

// h2Server is net/http's h2 server, made for the first connection that chose h2:
// most idle sessions have none.
type h2Server struct {
	once   sync.Once
	server *http.Server
	err    error
}

// get makes the server. It never listens: connections are given to its
// TLSNextProto function, because net/http speaks h2 on a literal *tls.Conn
// alone, and because the handler it wraps around ours would hide the scheme.
func (h *h2Server) get(s *Server) (*http.Server, error) {
	h.once.Do(func() {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		h.server = &http.Server{
			DisableGeneralOptionsHandler: true,
			MaxHeaderBytes:               s.limits.HeaderBytes,
			IdleTimeout:                  idleTimeout,
			Protocols:                    protocols,
			// No pings: the peer is on this machine, so its end is always told, and
			// one that is merely stopped keeps its connection.
			HTTP2: &http.HTTP2Config{
				MaxConcurrentStreams: s.limits.Streams,
				WriteByteTimeout:     writeTimeout,
			},
			ErrorLog: log.New(quietLog{s.logger}, "", 0),
		}
		// Serve sets TLSNextProto before it accepts.
		if err := h.server.Serve(nothing{}); !errors.Is(err, net.ErrClosed) {
			h.err = fmt.Errorf("configure h2: %w", err)
		} else if h.server.TLSNextProto["h2"] == nil {
			h.err = errors.New("configure h2: net/http has it switched off")
		}
	})
	return h.server, h.err
}

// serveH2 serves a connection that chose h2 until it ends.
func (s *Server) serveH2(c *agentConn, conn *tls.Conn) {
	defer conn.Close()
	server, err := s.h2.get(s)
	switch {
	case s.draining.Load(), errors.Is(err, ErrClosed): // a drain began before, or just now
		sendAway(conn)
	case err != nil:
		s.logger.Error("serve h2", "id", c.id, "error", err)
		c.note(audit.ReasonInternal, 0, 0)
	default:
		server.TLSNextProto["h2"](server, conn, h2Handler{s, c})
	}
}

// h2Handler serves the streams of one connection.
type h2Handler struct {
	server *Server
	conn   *agentConn
}

// quietLog drops net/http's own lines but for the fact that there was one: they
// quote what the client sent.
type quietLog struct{ logger *slog.Logger }

func (q quietLog) Write(p []byte) (int, error) {
	q.logger.Debug("net/http complained", "bytes", len(p))
	return len(p), nil
}

// ServeHTTP turns one stream into an exchange.
func (h h2Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.server
	if !s.track() {
		panic(http.ErrAbortHandler)
	}
	defer s.wg.Done()
	defer s.recoverStream()
	x := &exchange{
		conn: h.conn, proto: "h2", scheme: "https",
		method: r.Method, target: r.RequestURI, authority: r.Host,
		header: r.Header, length: r.ContentLength,
		body: newRequestBody(r.Body),
	}
	x.body.interrupt = func() { r.Body.Close() }
	if x.length == 0 {
		eof := io.EOF
		x.body.outcome.Store(&eof)
	}
	x.out = newH2Writer(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	x.cancel = cancel
	err := s.exchangeH2(ctx, r, x)
	x.body.stop()
	if err != nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// recoverStream turns a fault of ours into the end of one stream, and keeps the
// panic's value from net/http, which would print it.
func (s *Server) recoverStream() {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		s.logPanic(v)
		panic(http.ErrAbortHandler)
	}
}

// exchangeH2 refuses what only h2 can express, and goes on to the common path.
func (s *Server) exchangeH2(ctx context.Context, r *http.Request, x *exchange) error {
	if refused := checkH2(r); refused != nil {
		x.begin()
		defer s.finish(x)
		return s.refuse(x, refused)
	}
	return s.exchange(ctx, x)
}

// checkH2 judges what net/http leaves visible of a stream's head: the scheme,
// a Host beside :authority, and lengths (RFC 9113 sections 8.1.1 and 8.3.1).
func checkH2(r *http.Request) *refusal {
	if err := checkMethod(r.Method); err != nil {
		return headRefusal(err)
	}
	if r.TLS == nil {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadScheme}
	}
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host {
		return &refusal{status: http.StatusMisdirectedRequest, reason: audit.ReasonHostMismatch,
			hint: "Host and :authority disagree"}
	}
	count := 0
	for _, values := range r.Header {
		count += len(values)
	}
	if count > maxHeaderCount {
		return &refusal{status: http.StatusRequestHeaderFieldsTooLarge, reason: audit.ReasonHeaderLimit}
	}
	lengths := r.Header["Content-Length"]
	if len(lengths) > 1 {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadFraming}
	}
	if len(lengths) == 1 {
		if n, err := parseLength(lengths[0]); err != nil || n != r.ContentLength {
			return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadFraming}
		}
	}
	return nil
}

// h2Writer writes one answer through net/http.
type h2Writer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   *time.Timer   // ends a stream whose peer lets nobody write to it
	stalled chan struct{} // told when it did
}

func newH2Writer(w http.ResponseWriter) *h2Writer {
	out := &h2Writer{w: w, control: http.NewResponseController(w), stalled: make(chan struct{})}
	out.stall = time.AfterFunc(writeTimeout, func() {
		out.abort()
		out.stalled <- struct{}{}
	})
	out.stall.Stop()
	return out
}

func (w *h2Writer) head(status int, header http.Header, length int64, bodyless bool) error {
	to := w.w.Header()
	for name, values := range header {
		to[name] = values
	}
	if !bodyless && length >= 0 {
		to.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	if _, ok := to["Date"]; !ok {
		to["Date"] = nil // the upstream's, or none
	}
	if _, ok := to["Content-Type"]; !ok {
		to["Content-Type"] = nil // no guessing
	}
	w.w.WriteHeader(status)
	return nil
}

// Write has a timer and no deadline: that would end an answer which is silent
// for as long.
func (w *h2Writer) Write(p []byte) (int, error) {
	w.stall.Reset(writeTimeout)
	defer w.settle()
	return w.w.Write(p)
}

func (w *h2Writer) flush() error {
	w.stall.Reset(writeTimeout)
	defer w.settle()
	return w.control.Flush()
}

// settle stops the timer, or waits until it has done its work: of a stream whose
// handler has returned net/http has nothing left to abort.
func (w *h2Writer) settle() {
	if !w.stall.Stop() {
		<-w.stalled
	}
}

// end leaves what is in the buffer to net/http, which writes it when the handler
// has returned.
func (w *h2Writer) end(trailer http.Header) error {
	w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	for name, values := range trailer {
		w.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

// abort resets the stream: a deadline in the past does so at once.
func (w *h2Writer) abort() { w.control.SetWriteDeadline(time.Unix(1, 0)) }

// upgrade: there is none over h2. checkH2 never lets one come here.
func (w *h2Writer) upgrade(http.Header) (leg, error) { return nil, errAbort }
