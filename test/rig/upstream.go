// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxBody is how much of a request's body is kept.
const maxBody = 1 << 20

// Upstream is the far end of a test: a TLS server with a CA of its own that
// plays the providers, over HTTP/1.1 and HTTP/2. It keeps every byte that
// reached it.
type Upstream struct {
	// Answer is a random text that every provider's answer carries: who shows
	// it has talked to this upstream.
	Answer string
	// CA is the path of the PEM file that its certificates verify against.
	CA string

	t        testing.TB
	ca       *Authority
	listener net.Listener
	server   *http.Server
	accepted chan net.Conn
	closed   chan struct{}

	mu        sync.Mutex
	handlers  map[string]http.Handler
	conns     []*recorded
	exchanges []*Exchange
}

// NewUpstream starts an upstream on a loopback port that listen provides:
// [World.Listen], or net.Listen for the machine's own. It ends with the test.
func NewUpstream(t testing.TB, listen func(network, address string) (net.Listener, error)) *Upstream {
	t.Helper()
	ca, err := NewAuthority()
	if err != nil {
		t.Fatalf("rig: make upstream's CA: %v", err)
	}
	u := &Upstream{t: t, ca: ca, Answer: "pong-" + randomHex(t), handlers: make(map[string]http.Handler), accepted: make(chan net.Conn), closed: make(chan struct{})}
	u.CA = filepath.Join(t.TempDir(), "upstream-ca.pem")
	if err := os.WriteFile(u.CA, ca.PEM, 0o644); err != nil {
		t.Fatalf("rig: write upstream's CA: %v", err)
	}
	if u.listener, err = listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatalf("rig: start upstream: %v", err)
	}
	u.server = &http.Server{
		Handler:           http.HandlerFunc(u.handle),
		TLSConfig:         &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetCertificate: u.certificate},
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 30 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, u.find(c))
		},
	}
	go u.accept(u.listener)
	go u.server.Serve(&handshaken{u})
	t.Cleanup(u.close)
	return u
}

func randomHex(t testing.TB) string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatalf("rig: %v", err)
	}
	return hex.EncodeToString(b[:])
}

func (u *Upstream) close() {
	close(u.closed)
	u.listener.Close()
	u.server.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.conns {
		c.tls.Close()
	}
}

// OnlyHTTP1 makes it offer no h2. It is called before the first connection.
func (u *Upstream) OnlyHTTP1() { u.server.TLSConfig.NextProtos = []string{"http/1.1"} }

// Serve plays host with h from now on.
func (u *Upstream) Serve(host string, h http.Handler) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handlers[host] = h
}

// Address is where it listens, as host:port.
func (u *Upstream) Address() string { return u.listener.Addr().String() }

// Hosts is the policy's section that leads every served host here.
func (u *Upstream) Hosts() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, host := range sortedKeys(u.handlers) {
		fmt.Fprintf(&b, "  %q: {connect: %q, ca: %q}\n", host, u.Address(), u.CA)
	}
	return b.String()
}

func sortedKeys(m map[string]http.Handler) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Exchanges returns copies of the requests so far for host, or all where host
// is empty, in the order in which their heads arrived.
func (u *Upstream) Exchanges(host string) []Exchange {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Exchange
	for _, e := range u.exchanges {
		if host == "" || e.Host == host {
			out = append(out, *e)
		}
	}
	return out
}

// Raw returns what connection conn sent after TLS, byte for byte. Of HTTP/2 it
// is nil: see the exchanges.
func (u *Upstream) Raw(conn int) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.conns[conn].raw)
}

// Connections is how many TLS connections were made so far.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

func (u *Upstream) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	u.mu.Lock()
	_, ok := u.handlers[hello.ServerName]
	u.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
	}
	return u.ca.Leaf(hello.ServerName)
}

// Accept serves l too, until the test ends.
func (u *Upstream) Accept(l net.Listener) {
	u.t.Cleanup(func() { l.Close() })
	go u.accept(l)
}

func (u *Upstream) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go u.handshake(c)
	}
}

// handshake is done here and not by net/http, so that an HTTP/1 connection can
// be recorded below it: HTTP/2 wants the *tls.Conn itself.
func (u *Upstream) handshake(c net.Conn) {
	secure := tls.Server(c, u.server.TLSConfig)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return
	}
	r := &recorded{tls: secure, upstream: u}
	u.mu.Lock()
	r.index = len(u.conns)
	u.conns = append(u.conns, r)
	u.mu.Unlock()
	var conn net.Conn = &tee{secure, r}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		conn = secure
	}
	select {
	case u.accepted <- conn:
	case <-u.closed:
	}
}

// find returns the record of a connection that net/http was given.
func (u *Upstream) find(c net.Conn) *recorded {
	if t, ok := c.(*tee); ok {
		return t.record
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.conns {
		if net.Conn(r.tls) == c {
			return r
		}
	}
	return nil
}

// handshaken is the listener that net/http sees.
type handshaken struct{ u *Upstream }

func (l *handshaken) Accept() (net.Conn, error) {
	select {
	case c := <-l.u.accepted:
		return c, nil
	case <-l.u.closed:
		return nil, net.ErrClosed
	}
}

func (l *handshaken) Close() error   { return nil }
func (l *handshaken) Addr() net.Addr { return l.u.listener.Addr() }
