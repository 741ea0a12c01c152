// SPDX-License-Identifier: Apache-2.0

package http

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// The one host of a broker, and its credential.
const (
	host        = "api.openai.test"
	placeholder = "sk-phantom-0123456789abcdefghijklmn"
	canary      = "sk-canary-ZYXWVUTSRQPONMLKJIHGFEDCB"
)

var address = netip.MustParseAddr("198.18.0.1")

// broker is a proxy of one session on a loopback port, whose every connection
// went to host as far as its kernel is concerned.
type broker struct {
	server  *proxy.Server
	port    string
	client  *tls.Config
	up      *recorder
	served  chan error
	records records
}

// records counts the verdicts of an audit.
type records struct {
	mu    sync.Mutex
	count map[audit.Verdict]int
}

func (r *records) Write(record audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[audit.Verdict]int)
	}
	r.count[record.Verdict]++
	return record.Check()
}

type oneName struct{}

func (oneName) Name(a netip.Addr) (string, bool) { return host, a == address }

func newAuthority(t testing.TB) (*ca.Authority, *x509.CertPool) {
	t.Helper()
	a, err := ca.New(ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.PEM())
	return a, pool
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	session, trust := newAuthority(t)
	world, roots := newAuthority(t)
	b := &broker{up: newRecorder(t, host, world), served: make(chan error, 1)}
	rules, credentials := rulesFor(t, b.up.listener.Addr().String())
	group, err := proxy.NewGroup(proxy.Config{Rules: rules, CA: session, Roots: roots, Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group.Close() })
	b.server, err = group.NewServer(proxy.Session{
		Names: oneName{}, Sink: &b.records,
		Origin: func(net.Conn) (proxy.Origin, error) {
			return proxy.Origin{Dst: netip.AddrPortFrom(address, 443), PID: 42, UID: 1000, Comm: "agent"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.port = l.Addr().String()
	b.client = &tls.Config{ServerName: host, RootCAs: trust, NextProtos: []string{"http/1.1"}}
	go func() { b.served <- b.server.Serve(l) }()
	return b
}

func rulesFor(t testing.TB, upstream string) (*policy.Rules, *swap.Set) {
	t.Helper()
	s := &policy.Session{
		Credentials: []policy.Credential{{
			Name: "openai", Hosts: []string{host}, Rule: "test:1", Anonymous: policy.AnonymousDeny,
			Allow:     []policy.Allow{{Method: "*", Glob: "*", Rule: "test:1"}},
			Positions: []policy.Position{{Kind: policy.PositionBearer}},
		}},
		Hosts: []policy.HostTarget{{Host: host, Connect: upstream, Rule: "test:2"}},
	}
	rules, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	value, err := secret.New([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(value.Wipe)
	return rules, swap.New([]swap.Credential{{Policy: &s.Credentials[0], Placeholder: placeholder, Value: secret.NewCell(value)}})
}

// dial is one connection of the agent. One that hangs fails.
func (b *broker) dial() (*tls.Conn, error) {
	conn, err := tls.Dial("tcp4", b.port, b.client)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(20 * time.Second))
}

// end ends the proxy, then the upstream: nothing more can arrive.
func (b *broker) end(t testing.TB) {
	t.Helper()
	b.server.Close()
	if err := <-b.served; !errors.Is(err, proxy.ErrClosed) {
		t.Errorf("serve: %v", err)
	}
	b.up.end()
}
