// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// failingListener is out of descriptors a few times, then accepts.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Err: err}
	}
	return l.Listener.Accept()
}

// TestD7AcceptErrors: being out of descriptors does not end the loop; what
// cannot pass does.
func TestD7AcceptErrors(t *testing.T) {
	r, _, _ := newWorld(t)
	inner := &pairListener{conns: make(chan net.Conn), done: make(chan struct{})}
	l := &failingListener{inner, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ECONNABORTED}}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(l) }()
	r.listener, inner = inner, r.listener
	if resp, _ := r.raw(apiHost, request(apiHost)); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	r.listener.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
	r.listener = inner
	if err := r.server.Serve(&failingListener{inner, []error{syscall.EBADF}}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("Serve returned %v", err)
	}
}

// TestConnectionLimit: one connection too many is ended at once and told; a
// closed one gives its slot back.
func TestConnectionLimit(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Limits = policy.Limits{Connections: 2}
	r := newRig(t, session, world, nil)
	first, second := r.dialTLS(apiHost, "http/1.1"), r.dialTLS(apiHost, "h2")
	third := r.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("the third connection was served")
	}
	if rec := r.sink.last(1); rec.Reason != audit.ReasonConnectionLimit {
		t.Errorf("record %+v", rec)
	}
	second.Close()
	for len(r.server.slots.all) > 1 {
		runtime.Gosched()
	}
	if resp, _ := r.rawOn(first, request(apiHost)); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if resp, _ := r.raw(apiHost, request(apiHost)); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestD6HeaderLimit: the session's own limit holds on both protocols.
func TestD6HeaderLimit(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Limits = policy.Limits{HeaderBytes: 2048}
	r := newRig(t, session, world, nil)
	big := strings.Repeat("x", 8192)
	if resp, _ := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\nX: "+big+"\r\n\r\n"); resp.StatusCode != 431 {
		t.Errorf("h1 status %d", resp.StatusCode)
	}
	if got := r.stream(apiHost, fields("+x", big)...); got != "431" && got != "reset" {
		t.Errorf("h2 %s", got)
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// The count of fields is bounded over h2, too, where net/http bounds bytes alone.
func TestD6FieldLimitOverH2(t *testing.T) {
	r, up, _ := newWorld(t)
	var many []string
	for n := range maxHeaderCount {
		many = append(many, "+x"+strconv.Itoa(n), "1")
	}
	if got := r.stream(apiHost, fields(many...)...); got != "431" || up.count() != 0 {
		t.Errorf("%s, %d requests", got, up.count())
	}
}

// panicRules panics with a secret in its value.
type panicRules struct{ Rules }

func (panicRules) Request(policy.Request) policy.Verdict { panic(fmt.Sprintf("%v", canary)) }

// TestL6Panic: a fault of ours ends one connection, prints no value, and the
// session goes on.
func TestL6Panic(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		world := newAuthority(t)
		up := newRecorder(t, world, nil)
		r := newRig(t, testSession(up.address(), up.address()), world, func(c *Config) { c.Rules = panicRules{c.Rules} })
		for range 2 {
			req := authorized(t.Context(), t, "GET", "https://"+apiHost+"/", nil)
			if resp, err := r.client(h2).Do(req); err == nil {
				body, _ := io.ReadAll(resp.Body)
				t.Errorf("%d %q", resp.StatusCode, body)
			}
		}
		if up.connections() != 0 {
			t.Error("upstream was dialled")
		}
		for _, rec := range r.sink.wait(2) {
			if rec.Verdict != audit.Deny || rec.Reason != audit.ReasonInternal {
				t.Errorf("record %+v", rec)
			}
		}
	})
}

// TestAuditLost: while records cannot be written, nothing goes upstream.
func TestAuditLost(t *testing.T) {
	r, up, _ := newWorld(t)
	client := r.client(false)
	ask := call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)}
	statuses := []int{}
	send := func() {
		resp, _ := r.do(client, ask)
		statuses = append(statuses, resp.StatusCode)
	}
	r.sink.fail(errors.New("disk full"))
	send()
	r.sink.waitLost(1)
	send()
	r.sink.waitLost(2)
	r.sink.fail(nil)
	send()
	r.sink.wait(1)
	send()
	// The first found out; the third tried again.
	if fmt.Sprint(statuses) != "[200 503 503 200]" || up.count() != 2 {
		t.Errorf("statuses %v, %d requests upstream", statuses, up.count())
	}
}

// TestClose: closing ends idle, busy and half-read connections and leaves no
// goroutine.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("session", func(t *testing.T) {
		r, _, _ := newWorld(t)
		r.dialTLS(apiHost, "http/1.1")
		r.dialTLS(apiHost, "h2")
		r.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
		io.WriteString(r.dialTLS(apiHost, "http/1.1"), "GET / HT")
		io.WriteString(r.dialTLS(apiHost, "http/1.1"), "POST / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+"Content-Length: 10\r\n\r\nabc")
		for range 2 {
			if err := r.server.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := len(r.server.slots.all); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
		if err := r.server.Serve(r.listener); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve after Close: %v", err)
		}
	})
	for runtime.NumGoroutine() > before { // a leak is this test's timeout
		runtime.Gosched()
	}
}

// TestIdleGoroutines: an idle HTTP/1.1 connection costs one goroutine.
func TestIdleGoroutines(t *testing.T) {
	r, _, _ := newWorld(t)
	conn := r.dialTLS(apiHost, "http/1.1")
	br := bufio.NewReader(conn)
	io.WriteString(conn, request(apiHost))
	r.read(br)
	before := runtime.NumGoroutine()
	const n = 20
	for range n {
		conn := r.dialTLS(apiHost, "http/1.1")
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n")
		r.read(bufio.NewReader(conn))
	}
	for runtime.NumGoroutine() > before+n {
		runtime.Gosched()
	}
}

func TestNewWantsAll(t *testing.T) {
	if _, err := NewGroup(Config{}); err == nil {
		t.Error("an empty config was taken")
	}
	r, _, _ := newWorld(t)
	if _, err := r.server.group.NewServer(Session{}); err == nil {
		t.Error("an empty session was taken")
	}
}
