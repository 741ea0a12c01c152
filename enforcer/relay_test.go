// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// queue is a listener that gives what is in its queue also when it is closed.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) {
	conn, ok := <-q
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (q queue) Addr() net.Addr { return &net.TCPAddr{} }
func (q queue) Close() error   { return nil }

// TestRelaysCloseForGood: a connection that is accepted while the relays close
// has its record when they have closed, or never begins.
func TestRelaysCloseForGood(t *testing.T) {
	unreachable := far{dial: func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for range 100 { // which of the two is for the scheduler to say
		records := 0
		r := newRelays(9, new(proxy.Room), func(audit.Record) { records++ }, slog.New(slog.DiscardHandler))
		l, ended := make(queue), make(chan error)
		go func() { ended <- r.serve(l, unreachable) }()
		late, client := net.Pipe()
		go func() {
			l <- late
			close(l)
		}()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		recorded := records
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil || records != recorded {
			t.Fatalf("%v; %d records, and %d after the end", err, recorded, records-recorded)
		}
	}
}

// D11: relayed connections count among the descriptors that sessions share. One
// of a session is certain.
func TestD11RelaysTakeTheirShare(t *testing.T) {
	share := proxy.NewShare(2*relayDescriptors + 1)
	room, err := share.NewRoom(relayDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	reasons := make(chan audit.Reason)
	r := newRelays(9, room, func(record audit.Record) { reasons <- record.Reason }, slog.New(slog.DiscardHandler))
	there, dialled := make(queue), make(chan net.Conn)
	go r.serve(there, far{dial: func(context.Context) (net.Conn, error) {
		near, end := net.Pipe()
		dialled <- end
		return near, nil
	}})
	var ends []net.Conn
	for range 2 {
		near, _ := net.Pipe()
		there <- near
		ends = append(ends, <-dialled)
	}
	if _, err := share.NewRoom(relayDescriptors); !errors.Is(err, proxy.ErrShare) {
		t.Errorf("another session's: %v", err)
	}
	near, _ := net.Pipe()
	there <- near
	got := []audit.Reason{<-reasons}
	for _, end := range ends {
		end.Close()
		got = append(got, <-reasons)
	}
	if want := []audit.Reason{audit.ReasonConnectionLimit, audit.ReasonAllowed, audit.ReasonAllowed}; !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	close(there)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := share.NewRoom(relayDescriptors); err != nil {
			t.Errorf("after the end: %v", err)
		}
	}
}
