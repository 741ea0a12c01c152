// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
)

// Exchange is one request that reached the upstream, and what it was answered.
type Exchange struct {
	Conn   int    // index of its connection, from 0
	SNI    string // as sent
	Proto  string // "HTTP/1.1" or "HTTP/2.0"
	Method string
	Host   string // Host or :authority
	Target string // as sent: path and query
	Header http.Header
	Body   []byte // its first MiB; complete once the exchange is over
	Status int    // 0 until it was answered
}

// recorded is one connection.
type recorded struct {
	index    int
	tls      *tls.Conn
	upstream *Upstream
	raw      []byte
}

type connKey struct{}

// tee records what is read.
type tee struct {
	net.Conn
	record *recorded
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	u := t.record.upstream
	u.mu.Lock()
	t.record.raw = append(t.record.raw, b[:n]...)
	u.mu.Unlock()
	return n, err
}

func (u *Upstream) handle(w http.ResponseWriter, r *http.Request) {
	record, ok := r.Context().Value(connKey{}).(*recorded)
	if !ok || record == nil {
		panic(errors.New("rig: request without a connection"))
	}
	e := &Exchange{
		Conn: record.index, SNI: record.tls.ConnectionState().ServerName, Proto: r.Proto,
		Method: r.Method, Host: r.Host, Target: r.RequestURI, Header: r.Header.Clone(),
	}
	u.mu.Lock()
	u.exchanges = append(u.exchanges, e)
	handler := u.handlers[e.SNI]
	u.mu.Unlock()
	r.Body = &keep{r.Body, u, e}
	answer := &status{ResponseWriter: w, u: u, e: e}
	if handler == nil || hostname(r.Host) != e.SNI {
		http.Error(answer, "misdirected", http.StatusMisdirectedRequest)
		return
	}
	handler.ServeHTTP(answer, r)
	io.Copy(io.Discard, r.Body) // so that the record holds all of it
}

// keep records a body as it is read.
type keep struct {
	io.ReadCloser
	u *Upstream
	e *Exchange
}

func (k *keep) Read(b []byte) (int, error) {
	n, err := k.ReadCloser.Read(b)
	k.u.mu.Lock()
	k.e.Body = append(k.e.Body, b[:min(n, maxBody-len(k.e.Body))]...)
	k.u.mu.Unlock()
	return n, err
}

// status records the answer's.
type status struct {
	http.ResponseWriter
	u *Upstream
	e *Exchange
}

func (s *status) WriteHeader(code int) {
	s.set(code)
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Write(b []byte) (int, error) {
	s.set(http.StatusOK)
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush and hijack.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *status) set(code int) {
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	if s.e.Status < 200 {
		s.e.Status = code
	}
}

// hostname is a Host header without its port: a client that was given the
// upstream's own port says so there.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
