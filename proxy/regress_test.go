// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// What went wrong in other systems of this kind, by the name of the mistake.
// Some are proved in the tests of the part they belong to: queries re-encoded
// (TestH10Target), "basic" in lower case (TestC1Swap), bodies cut at 1 MiB
// (TestBodies), the accept loop ended by EMFILE (TestD7AcceptErrors), the
// injected value in the program's own log (every rig looks).

// TestRegressInnerHost: the upstream taken from the inner Host while policy
// looked at the outer name.
func TestRegressInnerHost(t *testing.T) {
	r, up, _ := newWorld(t)
	for _, line := range []string{"Host: " + openHost, "Host: " + apiHost + "\r\nX-Forwarded-Host: " + openHost} {
		r.raw(apiHost, "GET / HTTP/1.1\r\n"+line+"\r\n"+auth+"\r\n")
	}
	for _, req := range []string{up.seen()} {
		if strings.Count(req, "\r\nHost: ") != 1 || !strings.Contains(req, "\r\nHost: "+apiHost+"\r\n") {
			t.Errorf("upstream saw\n%s", req)
		}
	}
}

// TestRegressEmptyAllow: an empty allow list meant "allow all".
func TestRegressEmptyAllow(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Credentials[0].Allow = nil
	session.Egress[0].Allow = nil
	r := newRig(t, session, world, nil)
	for _, host := range []string{apiHost, openHost} {
		header := http.Header{}
		if host == apiHost {
			header = one("Authorization", "Bearer "+placeholder)
		}
		if resp, body := r.do(r.client(true), call{url: "https://" + host + "/", header: header}); resp.StatusCode != 403 {
			t.Errorf("%s: %d %s", host, resp.StatusCode, body)
		}
	}
	empty := newRig(t, &policy.Session{}, world, nil)
	conn := empty.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("an empty session served a connection")
	}
	if rec := empty.sink.last(1); rec.Reason != audit.ReasonHostNotAllowed {
		t.Errorf("record %+v", rec)
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// TestRegressInjectedForAnyone: a credential injected whether or not the
// request had the placeholder.
func TestRegressInjectedForAnyone(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		r.do(r.client(h2), call{url: "https://" + apiHost + "/"})
		r.do(r.client(h2), call{url: "https://" + gitHost + "/"})
		r.do(r.client(h2), call{url: "https://" + openHost + "/"})
		if seen := up.seen(); strings.Contains(seen, canary) || strings.Contains(seen, otherCanary) || up.count() != 2 {
			t.Errorf("upstream saw\n%s", seen)
		}
	})
}

// TestRegressOverride: a field that overrides method or path after policy
// judged the request line.
func TestRegressOverride(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		for _, header := range []http.Header{
			one("X-Http-Method-Override", "DELETE"), one("X-Http-Method", "delete"), one("X-Method-Override", "POST"),
			one("X-Original-Url", "/admin"), one("X-Rewrite-Url", "/admin"), {"X-Http-Method-Override": {"GET", "PUT"}},
		} {
			if resp, body := r.do(r.client(h2), call{url: "https://" + openHost + "/", header: header}); resp.StatusCode != 400 {
				t.Errorf("%v: %d %s", header, resp.StatusCode, body)
			}
		}
		if up.connections() != 0 {
			t.Error("upstream was dialled")
		}
		if resp, _ := r.do(r.client(h2), call{url: "https://" + openHost + "/", header: one("X-Http-Method-Override", "GET")}); resp.StatusCode != 200 {
			t.Errorf("a field that overrides nothing: %d", resp.StatusCode)
		}
	})
}

// generousRules binds the session's credential to plain HTTP, which policy's
// own rules never do.
type generousRules struct{ Rules }

func (g generousRules) Connect(host string, port uint16) policy.Connect {
	c := g.Rules.Connect(host, port)
	if c.Protocol == policy.HTTP {
		c.Credentials = g.Rules.Connect(apiHost, 443).Credentials
	}
	return c
}

// TestRegressPlaintext: whatever the rules say, no credential goes out without
// TLS.
func TestRegressPlaintext(t *testing.T) {
	world := newAuthority(t)
	plain := newRecorder(t, nil, nil)
	session := testSession("127.0.0.1:1", plain.address())
	r := newRig(t, session, world, func(c *Config) { c.Rules = generousRules{c.Rules} })
	resp, body := r.do(r.client(false), call{url: "http://" + plainHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if reason := r.refusedPage(body, 1); resp.StatusCode != 403 || reason != string(audit.ReasonPlaintext) || plain.connections() != 0 {
		t.Errorf("%d %s", resp.StatusCode, reason)
	}
}

// TestWatchAndUpgrade: the watch for a client that leaves reads the same
// connection as the WebSocket after it, and must be done by then.
func TestWatchAndUpgrade(t *testing.T) {
	r, up, _ := newWorld(t)
	r.server.patience = 0
	newSwitcher(t, up, switched+"\r\n")
	for range 20 {
		conn := r.dialTLS(apiHost, "http/1.1")
		io.WriteString(conn, handshake)
		br := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%+v, %v", resp, err)
		}
		io.WriteString(conn, agentFrame("hello"))
		got := make([]byte, len(textFrame("hello")))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != textFrame("hello") {
			t.Fatalf("%q, %v", got, err)
		}
		conn.Close()
	}
}

// TestWatchAndPipeline: a request that arrives while the one before is waiting
// is served after it, whole.
func TestWatchAndPipeline(t *testing.T) {
	r, up, _ := newWorld(t)
	r.server.patience = 0
	release := make(chan struct{})
	up.respond = func(*http.Request) string { <-release; return okAnswer }
	conn := r.dialTLS(apiHost, "http/1.1")
	br := bufio.NewReader(conn)
	for range 20 {
		io.WriteString(conn, request(apiHost))
		io.WriteString(conn, request(apiHost))
		for range 2 {
			release <- struct{}{}
			if resp, body := r.read(br); resp.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %q", resp.StatusCode, body)
			}
		}
	}
}

// pipeConn is a connection without a kernel, so that its deadlines are those of
// the test's clock. Ending one direction does nothing.
type pipeConn struct{ net.Conn }

func (pipeConn) CloseWrite() error { return nil }

// TestRegressHalfClosed: half-closed connections leaked until egress went dark.
func TestRegressHalfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, aPeer := net.Pipe()
		b, bPeer := net.Pipe()
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			Splice(pipeConn{a}, pipeConn{b})
		}()
		aPeer.Close() // and b's peer neither speaks nor ends
		<-done
		if waited := time.Since(start); waited > halfCloseTimeout {
			t.Errorf("held for %v", waited)
		}
		bPeer.Close()
	})
}

// TestD1SlowHead: a head that never ends, and a connection that never begins.
func TestD1SlowHead(t *testing.T) {
	for name, c := range map[string]struct {
		send    string
		limit   time.Duration
		records int
	}{
		"silent":      {"", idleTimeout, 0},
		"half a head": {"GET / HTTP/1.1\r\nHo", headTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newRecords()
				s := newPlainServer(t, sink)
				client, server := net.Pipe()
				start := time.Now()
				s.take(pipeConn{server})
				io.WriteString(client, c.send)
				rest, _ := io.ReadAll(client)
				if waited := time.Since(start); waited < c.limit || waited > c.limit+2*drainTimeout || len(rest) > 0 {
					t.Errorf("ended after %v with %q", waited, rest)
				}
				client.Close()
				s.group.Close()
				list := sink.wait(c.records)
				if len(list) != c.records || c.records == 1 && list[0].Reason != audit.ReasonTimeout {
					t.Errorf("records %+v", list)
				}
			})
		})
	}
}

func TestFlood(t *testing.T) {
	var f flood
	now := time.Now()
	for i, c := range []struct {
		at         time.Duration
		suppressed uint64
		ok         bool
	}{{0, 0, true}, {1, 0, false}, {floodPause - 1, 0, false}, {floodPause, 2, true}, {3 * floodPause, 0, true}} {
		if n, ok := f.admit(now.Add(c.at)); n != c.suppressed || ok != c.ok {
			t.Errorf("%d: %d, %t", i, n, ok)
		}
	}
}

// newPlainServer serves every connection as one to plainHost.
func newPlainServer(t *testing.T, sink *records) *Server {
	t.Helper()
	rules, err := policy.Compile(testSession("127.0.0.1:1", "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	return newServer(t, Config{Rules: rules, CA: newAuthority(t)}, sink, func(net.Conn) (Origin, error) {
		return Origin{Dst: netip.AddrPortFrom(synthetic(plainHost), 80)}, nil
	})
}
