// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// Values of the tests. canary is what no agent, log or record may ever see.
const (
	placeholder = "sk-phantom-0123456789abcdefghijklmn"
	canary      = "sk-canary-ZYXWVUTSRQPONMLKJIHGFEDCB"
	otherHolder = "ghp_phantomAAAABBBBCCCCDDDDEEEEFFFF"
	otherCanary = "ghp_canaryQQQQWWWWEEEERRRRTTTTYYYY1"
)

// Names of the tests and their synthetic addresses.
const (
	apiHost   = "api.openai.test"
	gitHost   = "github.test"
	openHost  = "docs.test" // no credential: reads only
	passHost  = "pinned.test"
	plainHost = "plain.test"
	tcpHost   = "db.test"
	hangHost  = "unbound.test"
)

var hosts = []string{apiHost, gitHost, openHost, passHost, plainHost, tcpHost, hangHost}

func synthetic(host string) netip.Addr {
	for i, name := range hosts {
		if name == host {
			return netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)})
		}
	}
	return netip.AddrFrom4([4]byte{198, 18, 9, 9})
}

type fakeNames struct{}

func (fakeNames) Name(addr netip.Addr) (string, bool) {
	for _, host := range hosts {
		if synthetic(host) == addr {
			return host, true
		}
	}
	return "", false
}

// records is a sink that tests can wait on.
type records struct {
	mu   sync.Mutex
	cond *sync.Cond
	list []audit.Record
	err  error
	lost int // records refused with err
}

func newRecords() *records {
	r := &records{}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *records) Write(rec audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		r.lost++
		r.cond.Broadcast()
		return r.err
	}
	if err := rec.Check(); err != nil {
		return err
	}
	r.list = append(r.list, rec)
	r.cond.Broadcast()
	return nil
}

// wait returns the records once there are n.
func (r *records) wait(n int) []audit.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.list) < n {
		r.cond.Wait()
	}
	return append([]audit.Record(nil), r.list...)
}

func (r *records) last(n int) audit.Record { return r.wait(n)[n-1] }

func (r *records) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// waitLost returns once n records were refused.
func (r *records) waitLost(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.lost < n {
		r.cond.Wait()
	}
}

// originConn is a server-side connection that knows where it was going.
type originConn struct {
	*net.TCPConn
	dst netip.AddrPort
}

func injectedOrigin(conn net.Conn) (Origin, error) {
	c, ok := conn.(*originConn)
	if !ok || !c.dst.IsValid() {
		return Origin{}, ErrNoOrigin
	}
	return Origin{Dst: c.dst, PID: 42, UID: 1000, Comm: "agent"}, nil
}

// pairListener accepts what rig.dial makes.
type pairListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pairListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pairListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pairListener) Addr() net.Addr { return &net.TCPAddr{} }

// rig is one session: a proxy, its trust, its records and its upstreams.
type rig struct {
	t        testing.TB
	server   *Server
	session  *ca.Authority // what the agent trusts
	world    *ca.Authority // what the proxy trusts
	sink     *records
	logs     *lockedBuffer
	listener *pairListener
	longer   time.Duration // that a connection may last
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newAuthority(t testing.TB) *ca.Authority {
	t.Helper()
	a, err := ca.New(ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(a *ca.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(a.PEM())
	return p
}

// newRig starts a proxy for session, which tests may change before.
func newRig(t testing.TB, session *policy.Session, world *ca.Authority, change func(*Config)) *rig {
	t.Helper()
	r := &rig{
		t: t, session: newAuthority(t), world: world, sink: newRecords(), logs: &lockedBuffer{},
		listener: &pairListener{conns: make(chan net.Conn), done: make(chan struct{})},
	}
	rules, err := policy.Compile(session)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Rules: rules, CA: r.session, Roots: pool(world), Credentials: swap.New(credentials(t, session)),
		Limits: session.Limits, Logger: testLogger(r.logs),
	}
	if change != nil {
		change(&config)
	}
	r.server = newServer(t, config, r.sink, injectedOrigin)
	t.Cleanup(func() { r.server.group.Close() })
	r.begin()
	return r
}

// newServer makes the only server of a group.
func newServer(t testing.TB, config Config, sink audit.Sink, origin func(net.Conn) (Origin, error)) *Server {
	t.Helper()
	g, err := NewGroup(config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.NewServer(Session{Names: fakeNames{}, Sink: sink, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begin serves until the test ends.
func (r *rig) begin() {
	t := r.t
	t.Helper()
	served, listener := make(chan error, 1), r.listener
	go func() { served <- r.server.Serve(listener) }()
	t.Cleanup(func() {
		r.server.Close()
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
		r.noLeak(r.logs.String())
		for _, rec := range r.sink.wait(0) {
			r.noLeak(strings.Join([]string{rec.Name, rec.Path, rec.Method, rec.Credential, rec.Position, rec.Rule}, "\n"))
		}
	})
}

// noLeak is the oracle: text that the agent or a log sees has no real value.
func (r *rig) noLeak(text string) {
	r.t.Helper()
	for _, secret := range []string{canary, otherCanary} {
		if strings.Contains(text, secret) {
			r.t.Errorf("a real credential is visible in %.300q", text)
		}
	}
}

func credentials(t testing.TB, session *policy.Session) []swap.Credential {
	t.Helper()
	var list []swap.Credential
	for i := range session.Credentials {
		c := swap.Credential{Policy: &session.Credentials[i]}
		real := canary
		c.Placeholder = placeholder
		if c.Policy.Name == "github" {
			c.Placeholder, real = otherHolder, otherCanary
		}
		value, err := secret.New([]byte(real))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(value.Wipe)
		c.Value = secret.NewCell(value)
		list = append(list, c)
	}
	return list
}

// pace is how many times as long an emulated machine may take.
func pace() time.Duration {
	n, err := strconv.Atoi(os.Getenv("RIG_PACE"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
}

// dial connects as the agent's kernel would have it: to dst, which the proxy
// learns as the connection's origin.
func (r *rig) dial(dst netip.AddrPort) *net.TCPConn {
	r.t.Helper()
	client, server, err := tcpPair()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close() })
	client.SetDeadline(time.Now().Add(pace() * (20*time.Second + r.longer))) // a hang is a failure
	select {
	case r.listener.conns <- &originConn{server, dst}:
	case <-r.listener.done:
		server.Close()
	}
	return client
}

func tcpPair() (client, server *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	client, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		return nil, nil, err
	}
	server, err = l.AcceptTCP()
	return client, server, err
}

// dialTLS is a handshake with the name host at the address of host.
func (r *rig) dialTLS(host, alpn string) *tls.Conn {
	r.t.Helper()
	conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(host), 443)), r.tlsConfig(host, alpn))
	if err := conn.Handshake(); err != nil {
		r.t.Fatalf("handshake: %v", err)
	}
	return conn
}

func (r *rig) tlsConfig(host string, alpn ...string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: pool(r.session), NextProtos: alpn}
}

// client is an unmodified HTTP client whose connections go to the address of
// the host it asks for.
func (r *rig) client(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{RootCAs: pool(r.session)},
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			host, port, err := splitAddress(address)
			if err != nil {
				return nil, err
			}
			return r.dial(netip.AddrPortFrom(synthetic(host), port)), nil
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// raw sends bytes over HTTP/1.1 and returns all that comes back until the end,
// or until the answer is complete.
func (r *rig) raw(host, request string) (*http.Response, string) {
	r.t.Helper()
	return r.rawOn(r.dialTLS(host, "http/1.1"), request)
}

func (r *rig) rawOn(conn net.Conn, request string) (*http.Response, string) {
	r.t.Helper()
	go io.WriteString(conn, request)
	return r.read(bufio.NewReader(conn))
}

func (r *rig) read(br *bufio.Reader) (*http.Response, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		r.t.Fatalf("read answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("read answer's body: %v", err)
	}
	var head bytes.Buffer
	resp.Header.Write(&head)
	r.noLeak(head.String() + string(body))
	return resp, string(body)
}
