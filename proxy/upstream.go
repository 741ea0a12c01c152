// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// Deadlines and sizes of the upstream leg.
const (
	upstreamHandshake = 15 * time.Second
	// upstreamHead is how long an upstream may think before its answer begins.
	// Model APIs that do not stream take minutes; SDKs give up after ten.
	upstreamHead    = 15 * time.Minute
	upstreamIdle    = 90 * time.Second
	upstreamProbe   = 30 * time.Second // silence after which the kernel tests a connection
	upstreamAcks    = time.Minute      // without any acknowledgement an h2 connection has ended
	expectContinue  = time.Second
	upstreamHeaders = 256 << 10
	upstreamBuffer  = 16 << 10 // one TLS record
	upstreamTickets = 256      // resumable TLS sessions kept
	// What an HTTP/2 upstream may send of an answer that the agent does not read.
	// Go's 4 MiB made a connection with 100 such streams hold 418; this still
	// admits 25 MB/s of one answer at a round trip of 20 ms.
	upstreamWindow = 512 << 10
)

// upstream holds the connections of one session to the outside. Nothing of it
// is shared with another session.
type upstream struct {
	rules  Rules
	dialer *dialer
	roots  *x509.CertPool
	idle   int   // connections that are kept, at most
	room   *Room // for connections, of all generations together

	mu     sync.Mutex
	common *connPool
	extra  map[string]*connPool // by NAME:PORT, for names with a root of their own

	opening sync.Mutex // alone: a pool closes connections under locks of its own
	open    map[*upstreamConn]struct{}
	users   atomic.Int64 // requests that may use a connection
	retired atomic.Bool  // no others will come
	gone    func()       // called when the connections of one that was retired are closed
}

func newUpstream(config Config, gone func()) *upstream {
	first := &upstream{
		gone: gone, room: new(Room),
		dialer: &dialer{
			resolver: config.Resolver, own: interfaceAddresses,
			via: config.Via, logger: config.Logger, told: &once{},
		},
		roots: config.Roots,
		idle:  config.Limits.Connections,
	}
	return first.renew(config.Rules)
}

// newConnPool makes a pool that trusts roots.
func (u *upstream) newConnPool(roots *x509.CertPool) *connPool {
	return newConnPool(u.dial, &tls.Config{
		RootCAs:            roots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(upstreamTickets),
	}, u.idle)
}

// transport returns the pool for one name: the common one, or its own when
// the policy gives it a root of its own.
func (u *upstream) transport(host string, port uint16) (*connPool, error) {
	target := u.rules.Target(host, port)
	if len(target.CA) == 0 {
		return u.common, nil
	}
	key := joinHostPort(host, port)
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := u.extra[key]; t != nil {
		return t, nil
	}
	roots, err := u.rootsWith(target)
	if err != nil {
		return nil, fmt.Errorf("trust %s: %w", key, err)
	}
	t := u.newConnPool(roots)
	u.extra[key] = t
	return t, nil
}

func (u *upstream) rootsWith(target policy.Target) (*x509.CertPool, error) {
	roots := u.roots
	if roots == nil {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		roots = system
	}
	roots = roots.Clone()
	if !roots.AppendCertsFromPEM(target.CA) {
		return nil, fmt.Errorf("no certificate in %d bytes of PEM", len(target.CA))
	}
	return roots, nil
}

// renew is an upstream of its own, without a connection yet, for other rules.
func (u *upstream) renew(rules Rules) *upstream {
	renewed := *u.dialer
	renewed.rules = rules
	next := &upstream{
		rules:  rules,
		gone:   u.gone,
		dialer: &renewed,
		roots:  u.roots,
		idle:   u.idle,
		room:   u.room,
		extra:  make(map[string]*connPool),
		open:   make(map[*upstreamConn]struct{}),
	}
	next.common = next.newConnPool(next.roots)
	return next
}

// send writes the request upstream once, with the credentials in place, and
// returns the answer's head. It follows no redirect. Errors hold neither the
// target nor a header value.
func (u *upstream) send(ctx context.Context, x *exchange) (*http.Response, error) {
	if err := x.finding.Mint(ctx); err != nil {
		return nil, err
	}
	q := x.swapRequest(outgoingHeader(x))
	q.Host = x.conn.authority()
	// Last: from here on header, target and content hold real values.
	if err := x.finding.Apply(&q); err != nil {
		return nil, err
	}
	t, err := x.conn.transport(u)
	if err != nil {
		return nil, err
	}
	return t.RoundTrip(x.request(ctx, &q))
}

// Do sends a request of our own, to the host of its URL: see [mint.Upstream].
func (u *upstream) Do(req *http.Request) (*http.Response, error) {
	host, port := req.URL.Hostname(), uint16(443)
	if text := req.URL.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("send request: port %q", text)
		}
		port = uint16(n)
	}
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("send request to %s: not over https", joinHostPort(host, port))
	}
	t, err := u.transport(host, port)
	if err != nil {
		return nil, err
	}
	return t.RoundTrip(req)
}

// request builds the outgoing request. Its authority is the connection's name,
// never the agent's Host.
func (x *exchange) request(ctx context.Context, q *swap.Request) *http.Request {
	host := x.conn.authority()
	req := &http.Request{
		Method:        x.method,
		URL:           targetURL(x.scheme, host, q.Target),
		Host:          host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        q.Header,
		ContentLength: x.length,
	}
	switch {
	case x.length == 0:
		req.Body = http.NoBody
	case q.Content != nil:
		req.ContentLength = int64(len(q.Content))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(q.Content)), nil }
		req.Body, _ = req.GetBody()
	default:
		req.Body = q.Stream(x.body.attempt())
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := x.body.again()
			if err != nil {
				return nil, err
			}
			return q.Stream(body), nil
		}
	}
	return req.WithContext(ctx)
}

// targetURL makes a URL that net/http writes to the wire as target, byte for
// byte, and that dials host. Opaque is written as it is, unless it begins with
// "//", which net/http would make absolute-form; validTarget has seen that such
// a path survives as RawPath.
func targetURL(scheme, host, target string) *url.URL {
	u := &url.URL{Scheme: scheme, Host: host}
	if len(target) < 2 || target[1] != '/' {
		u.Opaque = target
		return u
	}
	path, query, hasQuery := cutQuery(target)
	u.RawPath, u.RawQuery = path, query
	u.Path, _ = url.PathUnescape(path)
	u.ForceQuery = hasQuery && query == ""
	return u
}

// validTarget reports whether targetURL writes target byte for byte.
func validTarget(target string) bool {
	return targetURL("https", "host.invalid", target).RequestURI() == target
}

func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
