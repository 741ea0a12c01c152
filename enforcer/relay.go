// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/accept"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// relays are the connections whose bytes are passed on unread, between the
// agent's ports and the host's: those of forward and of publish. Each leaves one
// record, at its end.
type relays struct {
	slots  chan struct{} // one for each open connection
	room   *proxy.Room   // of relayDescriptors
	record func(audit.Record)
	log    *slog.Logger

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	mu     sync.Mutex // held to begin a connection, and to end ctx
	wg     sync.WaitGroup
}

// relayDescriptors are those of one connection: two sockets, and for each way a
// pipe, as splice(2) wants one.
const relayDescriptors = 6

func newRelays(connections int, room *proxy.Room, record func(audit.Record), log *slog.Logger) *relays {
	r := &relays{slots: make(chan struct{}, max(connections, 1)), room: room, record: record, log: log}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// far is the other end of a relayed connection.
type far struct {
	record audit.Record // what is known of the connection before it begins
	dial   func(context.Context) (net.Conn, error)
	agent  bool // the far end is the agent's
}

// serve accepts connections until the listener ends. Of those beyond the limit
// one waits here and the rest in the listener's queue.
func (r *relays) serve(l net.Listener, to far) error {
	defer context.AfterFunc(r.ctx, func() { l.Close() })()
	for {
		near, err := accept.Next(r.ctx, l.Accept, r.log)
		if err != nil {
			return err
		}
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			near.Close()
			return net.ErrClosed
		}
		if !r.begin() {
			near.Close()
			return net.ErrClosed
		}
		go func() {
			defer r.wg.Done()
			defer func() { <-r.slots }()
			r.pass(near, to)
		}()
	}
}

// begin counts a connection in, of which Close waits for the record; not one that
// was accepted while the listener closed.
func (r *relays) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.wg.Add(1)
	return true
}

// pass relays one connection.
func (r *relays) pass(near net.Conn, to far) {
	defer near.Close()
	began, record := time.Now(), to.record
	record.Kind, record.Proto, record.Verdict, record.Reason = audit.KindConnect, "tcp", audit.Deny, audit.ReasonConnectionLimit
	if r.room.Take() {
		r.relay(near, to, &record)
		r.room.Give()
	}
	if tcp, ok := near.(*net.TCPConn); ok && record.Verdict == audit.Deny {
		// A reset, as from a port without a server: an orderly end would look
		// like an empty answer. The error says no more than that.
		_ = tcp.SetLinger(0)
	}
	record.MS = float64(time.Since(began).Microseconds()) / 1000
	r.record(record)
}

// relay copies both ways until both have ended, where the far end is there.
func (r *relays) relay(near net.Conn, to far, record *audit.Record) {
	end, err := to.dial(r.ctx)
	if err != nil {
		record.Reason = audit.ReasonUpstreamUnreachable
		return
	}
	stop := context.AfterFunc(r.ctx, func() { near.Close(); end.Close() })
	defer stop()
	agent, outside := near, end
	if to.agent {
		agent, outside = end, near
	}
	in, out := proxy.Splice(agent, outside)
	record.Verdict, record.Reason, record.BytesIn, record.BytesOut = audit.Allow, audit.ReasonAllowed, uint64(in), uint64(out)
}

// Close ends every relayed connection and returns when each has its record.
func (r *relays) Close() error {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.wg.Wait()
	r.room.Close()
	return nil
}

// forwardDialTimeout bounds a dial to a forwarded service, which is on this
// host or near it.
const forwardDialTimeout = 10 * time.Second

// forwardOne leads from a port of the agent's to the service outside that the
// policy names for it.
func (s *sessionStage) forwardOne(port uint16) far {
	var entry policy.Forward
	for _, f := range s.spec.Forward {
		if f.Port == port {
			entry = f
		}
	}
	record := audit.Record{Rule: entry.Rule, Port: port}
	if host, _, err := net.SplitHostPort(entry.Connect); err == nil {
		record.Name = host
	}
	dialer := net.Dialer{Timeout: forwardDialTimeout}
	dialer.SetMultipathTCP(false)
	return far{record: record, dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", entry.Connect) }}
}

var errNotPublished = errors.New("nothing is published")

// publishOne leads from a port of the host's loopback to one of the agent's.
func (s *sessionStage) publishOne(index int) far {
	if s.inside == nil || index < 0 || index >= len(s.spec.Publish) {
		return far{dial: func(context.Context) (net.Conn, error) { return nil, errNotPublished }}
	}
	entry, door := s.spec.Publish[index], s.inside
	return far{
		record: audit.Record{Rule: entry.Rule, Address: entry.Listen.Addr().String(), Port: entry.Listen.Port()},
		agent:  true,
		dial: func(ctx context.Context) (net.Conn, error) {
			// A server that binds "localhost" has one of the two.
			conn, err := door.dial(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), entry.Port))
			if err != nil {
				conn, err = door.dial(ctx, netip.AddrPortFrom(netip.IPv6Loopback(), entry.Port))
			}
			return conn, err
		},
	}
}
