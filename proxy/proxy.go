// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/scrub"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// Rules answers what may be done. [policy.Rules] implements it.
type Rules interface {
	Connect(host string, port uint16) policy.Connect
	Address(to netip.AddrPort) policy.Connect
	Request(q policy.Request) policy.Verdict
	Target(host string, port uint16) policy.Target
	// Capture tells the endpoint at a path of host, or nil.
	Capture(host, path string) *policy.TokenEndpoint
	// MintedBy tells how answers to a signed request for service are read, or nil.
	MintedBy(credential, service string) *policy.TokenEndpoint
}

// Names says which canonical name stands behind a synthetic address.
// dns.Table implements it.
type Names interface {
	Name(netip.Addr) (string, bool)
}

// Authority mints the leaf for one canonical host. ca.Authority implements it.
type Authority interface {
	Leaf(host string) (*tls.Certificate, error)
}

// Resolver looks names up, each time it is asked. [net.Resolver] implements it.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a [Group] is made of. Fields without a word about nil are
// required.
type Config struct {
	Rules       Rules
	CA          Authority
	Roots       *x509.CertPool // of upstreams; nil: the system's
	Credentials *swap.Set      // nil: none
	Limits      policy.Limits  // zero fields take this package's defaults
	Logger      *slog.Logger   // for operators; nil: discarded
	Resolver    Resolver       // nil: the Go resolver of the process
	Via         *Via           // the network's own proxy; nil: none
	// Keep stores a login that was made in the session, by the credential's name,
	// before the agent is told of it; nil: there is none.
	Keep func(ctx context.Context, name string, login mint.Login) error
}

// Defaults of [policy.Limits], as phantom-ns-policy(5) states them.
const (
	defaultConnections = 512
	defaultStreams     = 100
)

// Server is the broker of one session. It is safe for concurrent use, and may
// serve several listeners.
type Server struct {
	group  *Group
	names  Names
	ca     Authority
	sink   audit.Sink
	origin func(net.Conn) (Origin, error)
	limits policy.Limits
	logger *slog.Logger

	current  atomic.Pointer[generation]
	changing sync.Mutex // held while current is replaced
	vault    vault
	keep     func(context.Context, string, mint.Login) error
	scrubber *scrub.Scrubber
	cookies  *cookies
	h2       h2Server

	ctx       context.Context // ended by Close
	cancel    context.CancelFunc
	slots     slots
	draining  atomic.Bool   // no connection begins; written under mu
	auditLost atomic.Bool   // the last record could not be written
	patience  time.Duration // watchDelay, but in tests

	limited  flood
	holding  atomic.Int64 // bytes reserved for bodies that are held
	decoding scrub.Budget // of coded answers

	mu        sync.Mutex
	closed    bool // nothing begins any more
	listeners map[net.Listener]struct{}
	conns     map[*agentConn]struct{}
	wg        sync.WaitGroup
}

func (c *Config) check() error {
	switch {
	case c.Rules == nil:
		return errors.New("no rules")
	case c.CA == nil:
		return errors.New("no authority")
	}
	return nil
}

func (c *Config) defaults() {
	if c.Limits.Connections <= 0 {
		c.Limits.Connections = defaultConnections
	}
	if c.Limits.Streams <= 0 {
		c.Limits.Streams = defaultStreams
	}
	if c.Limits.HeaderBytes <= 0 {
		c.Limits.HeaderBytes = defaultHeadBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Credentials == nil {
		c.Credentials = swap.New(nil)
	}
	if c.Resolver == nil {
		c.Resolver = &net.Resolver{PreferGo: true}
	}
}

// settleTimeout is how long the end of a session waits for a login that is being
// refreshed: what the service has rotated by then is to be stored.
const settleTimeout = 10 * time.Second

// Close ends every listener and connection and returns when no goroutine of
// the server is left. It may be called again.
func (s *Server) Close() error {
	s.cancel() // first, so that an accept that fails knows why
	s.mu.Lock()
	s.closed = true
	var errs []error
	for listener := range s.listeners {
		errs = append(errs, listener.Close())
	}
	s.mu.Unlock()
	for _, c := range s.open() {
		c.Close()
	}
	s.wg.Wait()
	s.current.Load().upstream.end()
	s.group.leave(s)
	if s.vault.wipe() {
		s.group.forgetter.begin()
	}
	s.scrubber.Wipe()
	return errors.Join(errs...)
}
