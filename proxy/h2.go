// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// connKey finds the connection in a request's context.
type connKey struct{}

// handoff is the listener by which connections that chose h2 reach net/http,
// which speaks it on a literal *tls.Conn alone.
type handoff struct {
	conns chan *tls.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandoff() *handoff {
	return &handoff{conns: make(chan *tls.Conn), done: make(chan struct{})}
}

func (h *handoff) give(conn *tls.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		conn.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handoff) Addr() net.Addr { return &net.TCPAddr{} }

// startH2 makes the h2 server and starts its one accept loop.
func (s *Server) startH2() {
	s.handoff = newHandoff()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	s.h2 = &http.Server{
		Handler:                      http.HandlerFunc(s.serveH2),
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               s.limits.HeaderBytes,
		IdleTimeout:                  idleTimeout,
		Protocols:                    protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.limits.Streams,
			SendPingTimeout:      idleTimeout / 2,
			WriteByteTimeout:     writeTimeout,
		},
		ErrorLog: log.New(quietLog{s.logger}, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn.(*tls.Conn).NetConn().(*agentConn))
		},
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.h2.Serve(s.handoff)
	}()
}

// quietLog drops net/http's own lines but for the fact that there was one: they
// quote what the client sent.
type quietLog struct{ logger *slog.Logger }

func (q quietLog) Write(p []byte) (int, error) {
	q.logger.Debug("net/http complained", "bytes", len(p))
	return len(p), nil
}

// serveH2 turns one stream into an exchange.
func (s *Server) serveH2(w http.ResponseWriter, r *http.Request) {
	if !s.track() {
		panic(http.ErrAbortHandler)
	}
	defer s.wg.Done()
	c := r.Context().Value(connKey{}).(*agentConn)
	x := &exchange{
		conn: c, proto: "h2", scheme: "https",
		method: r.Method, target: r.RequestURI, authority: r.Host,
		header: r.Header, length: r.ContentLength,
		body: newRequestBody(r.Body),
	}
	x.body.interrupt = func() { r.Body.Close() }
	if x.length == 0 {
		eof := io.EOF
		x.body.outcome.Store(&eof)
	}
	x.out = &h2Writer{w: w, control: http.NewResponseController(w)}
	err := s.exchangeH2(r, x)
	x.body.stop()
	if err != nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// exchangeH2 refuses what only h2 can express, and goes on to the common path.
func (s *Server) exchangeH2(r *http.Request, x *exchange) error {
	if refused := checkH2(r); refused != nil {
		x.begin()
		defer s.finish(x)
		return s.refuse(x, refused)
	}
	return s.exchange(r.Context(), x)
}

// checkH2 judges what net/http leaves visible of a stream's head: the scheme,
// a Host beside :authority, and lengths (RFC 9113 sections 8.1.1 and 8.3.1).
func checkH2(r *http.Request) *refusal {
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

func (w *h2Writer) Write(p []byte) (int, error) { return w.w.Write(p) }
func (w *h2Writer) flush() error                { return w.control.Flush() }

func (w *h2Writer) end(trailer http.Header) error {
	for name, values := range trailer {
		w.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

// upgrade: there is none over h2. checkH2 never lets one come here.
func (w *h2Writer) upgrade(http.Header) (io.ReadWriteCloser, error) { return nil, errAbort }
