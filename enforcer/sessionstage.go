// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/dns"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// sessionStage is one session in the proxy: what it shares with no other.
type sessionStage struct {
	id      string
	policy  *policyStage
	spec    *policy.Session // as it was when the session began
	log     *slog.Logger
	records sessionRecords
	origin  func(own ...netip.Addr) func(net.Conn) (proxy.Origin, error)
	broken  func(error) // a listener ended by itself

	names   *dns.Table
	stub    *dns.Server // one for all sockets: its limits are the session's
	server  *proxy.Server
	relays  *relays
	inside  *inside // nil: nothing is published
	sockets []io.Closer
	ending  atomic.Bool // a listener that ends is no fault
	fault   sync.Once   // the first listener that ended by itself
	faulty  atomic.Bool
}

// sessionRecords are the records of one session.
type sessionRecords struct {
	session string
	to      audit.Sink
}

// Write says whose the record is.
func (r sessionRecords) Write(record audit.Record) error {
	record.Session = r.session
	return r.to.Write(record)
}

var (
	errSessionThere  = errors.New("there is a session of that id")
	errSessionNone   = errors.New("a session has to have an id")
	errSessionFaulty = errors.New("a listener of the session ended")
)

// takeSession takes the sockets that were born inside a namespace and serves
// them.
func (p *proxyStage) takeSession(m message, files []*os.File) (message, error) {
	if len(files) != len(m.Sockets) {
		return message{}, fmt.Errorf("%d descriptors for %d names", len(files), len(m.Sockets))
	}
	own, err := p.admit(m)
	if err != nil {
		return message{}, err
	}
	s := p.newSession(m, own)
	if err = s.open(m, p.shareFor(m)); err == nil {
		err = s.listen(m, files)
	}
	if err == nil {
		err = p.publish(s)
	}
	if err != nil {
		p.drop(s)
		return message{}, errors.Join(err, s.close())
	}
	return message{}, nil
}

// admit takes the session's id, and holds its policy.
func (p *proxyStage) admit(m message) (*policyStage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Session == "" {
		return nil, errSessionNone
	}
	if _, there := p.sessions[m.Session]; there {
		return nil, fmt.Errorf("session %q: %w", m.Session, errSessionThere)
	}
	own, err := p.find(m.Policy)
	if err != nil {
		return nil, err
	}
	own.sessions++
	p.sessions[m.Session] = nil // on its way
	return own, nil
}

// shareFor is what a session that is not the only one shares with the others.
func (p *proxyStage) shareFor(m message) *proxy.Share {
	if !m.Shared {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.share == nil {
		p.share = proxy.NewShare(max(m.Files, p.files) - spareDescriptors)
	}
	return p.share
}

// spareDescriptors are for what is no session's: pipes of helpers, files that
// are read, connections for tokens.
const spareDescriptors = 512

func (p *proxyStage) newSession(m message, own *policyStage) *sessionStage {
	s := &sessionStage{id: m.Session, policy: own, log: p.log, origin: p.origin, records: sessionRecords{m.Session, p.records}}
	own.renewing.Lock()
	s.spec = own.spec.Session
	own.renewing.Unlock()
	s.broken = func(err error) {
		s.faulty.Store(true)
		// An error of closing adds nothing.
		_, _ = p.endSession(message{Session: s.id}, nil)
		if p.control.send(message{Kind: msgBroken, Session: s.id, Text: err.Error()}) != nil {
			p.control.Close()
		}
	}
	return s
}

// publish makes the session known as one that is served, unless it is so no more.
func (p *proxyStage) publish(s *sessionStage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions == nil {
		return errClosed
	}
	if s.faulty.Load() {
		return errSessionFaulty
	}
	p.sessions[s.id] = s
	return nil
}

// drop forgets a session, and that its policy is used.
func (p *proxyStage) drop(s *sessionStage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s.id)
	s.policy.sessions--
}

// endSession returns when the session's last record is in the pipe, and says how
// many are before it.
func (p *proxyStage) endSession(m message, _ []*os.File) (message, error) {
	p.mu.Lock()
	s := p.sessions[m.Session]
	if s != nil {
		p.sessions[m.Session] = nil // its id is taken until it has ended
	}
	p.mu.Unlock()
	if s == nil {
		return message{}, nil
	}
	err := s.close()
	p.drop(s)
	return message{Records: p.records.Written()}, err
}

// open makes the broker, and the table of names that the stub fills.
func (s *sessionStage) open(m message, share *proxy.Share) (err error) {
	rules := &s.policy.rules
	s.names = dns.New(policy.Canonical, func(host string) bool { return rules.Load().Name(host) })
	s.stub = &dns.Server{Table: s.names, Hostname: m.Hostname, Own4: m.Own4, Own6: m.Own6, Sink: s.records}
	room := new(proxy.Room)
	if len(s.spec.Forward) > 0 { // publish is of sessions that have a process for themselves
		if room, err = share.NewRoom(relayDescriptors); err != nil {
			return err
		}
	}
	s.relays = newRelays(s.spec.Limits.Connections, room, s.record, s.log)
	s.server, err = s.policy.group.NewServer(proxy.Session{
		Names: s.names, Sink: s.records, Origin: s.origin(m.Own4, m.Own6), Share: share,
	})
	return err
}

func (s *sessionStage) listen(m message, files []*os.File) error {
	for i, name := range m.Sockets {
		if err := s.serveSocket(name, files[i]); err != nil {
			return fmt.Errorf("serve %s: %w", name.Role, err)
		}
	}
	return nil
}

func (s *sessionStage) serveSocket(name socketName, f *os.File) error {
	if name.Role == roleInside {
		conn, err := openControl(f)
		if err == nil {
			s.inside = &inside{conn: conn.conn, deadline: insideDialTimeout}
			s.sockets = append(s.sockets, conn)
		}
		return err
	}
	if name.Role == roleDNS {
		conn, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		s.sockets = append(s.sockets, conn)
		packet, err := dns.NewPacket(conn, name.V6)
		if err != nil {
			return err
		}
		go s.ends(name, func() error { return s.stub.ServePacket(packet) })
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	s.sockets = append(s.sockets, l)
	switch name.Role {
	case roleTCP:
		go s.ends(name, func() error { return s.server.Serve(l) })
	case roleDNSTCP:
		go s.ends(name, func() error { return s.stub.ServeStream(l) })
	case roleForward:
		go s.ends(name, func() error { return s.relays.serve(l, s.forwardOne(name.Port)) })
	case rolePublish:
		go s.ends(name, func() error { return s.relays.serve(l, s.publishOne(name.Index)) })
	default:
		return fmt.Errorf("unknown role %q", name.Role)
	}
	return nil
}

// ends stops the whole session when one of its listeners stops: a session that
// answers on some of them only would look alive.
func (s *sessionStage) ends(name socketName, serve func() error) {
	err := serve()
	if s.ending.Load() {
		return
	}
	if err == nil {
		err = net.ErrClosed
	}
	s.log.Error("listener ended", "session", s.id, "role", name.Role, "error", err)
	s.fault.Do(func() { s.broken(fmt.Errorf("%s: %w", name.Role, err)) })
}

// record sends one record, or says that it could not.
func (s *sessionStage) record(r audit.Record) {
	if err := s.records.Write(r); err != nil {
		s.log.Error("write audit record", "rule", r.Rule, "error", err)
	}
}

// drain closes the listeners and waits for what is under way.
func (s *sessionStage) drain(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.ending.Store(true)
	return s.server.Drain(ctx)
}

// close ends everything that the session has.
func (s *sessionStage) close() error {
	if s == nil {
		return nil // it was on its way
	}
	s.ending.Store(true)
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	for _, socket := range s.sockets { // the server has closed its own
		if err := socket.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.relays != nil {
		errs = append(errs, s.relays.Close())
	}
	return errors.Join(append(errs, s.stub.Close())...)
}
