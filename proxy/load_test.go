// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// slow is a server in a bubble of its own time, whose agent and upstream are at
// the other ends of pipes.
type slow struct {
	server   *Server
	sink     *records
	upstream chan net.Conn
}

func newSlow(t *testing.T, dst netip.AddrPort) *slow {
	t.Helper()
	rules, err := policy.Compile(testSession("127.0.0.1:1", "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	s := &slow{sink: newRecords(), upstream: make(chan net.Conn, 1)}
	s.server = newServer(t, Config{Rules: rules, CA: newAuthority(t)}, s.sink, func(net.Conn) (Origin, error) { return Origin{Dst: dst}, nil })
	s.server.current.Load().upstream.common.dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		s.upstream <- far
		return pipeConn{near}, nil
	}
	return s
}

func (s *slow) dial() net.Conn {
	agent, server := net.Pipe()
	s.server.take(pipeConn{server})
	return agent
}

// ended returns what the agent reads until the end, and when that came.
func ended(agent net.Conn, start time.Time) (string, time.Duration) {
	text, _ := io.ReadAll(agent)
	return string(text), time.Since(start)
}

// TestD1SlowHandshake: a TLS hello that does not come, or not to its end.
func TestD1SlowHandshake(t *testing.T) {
	for name, hello := range map[string]string{"silent": "", "half": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow(t, netip.AddrPortFrom(synthetic(apiHost), 443))
				agent, start := s.dial(), time.Now()
				io.WriteString(agent, hello)
				if _, waited := ended(agent, start); waited > handshakeTimeout+2*drainTimeout {
					t.Errorf("held for %v", waited)
				}
				agent.Close()
				s.server.group.Close()
				if rec := s.sink.last(1); rec.Reason != audit.ReasonHandshake {
					t.Errorf("record %+v", rec)
				}
			})
		})
	}
}

// TestD1SlowBody: a body that stops in the middle holds the agent's connection
// and the upstream's for readTimeout, and the upstream has no whole request.
func TestD1SlowBody(t *testing.T) {
	for name, framing := range map[string]string{"length": "Content-Length: 100000\r\n\r\nabc", "chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nab"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow(t, netip.AddrPortFrom(synthetic(plainHost), 80))
				agent, start := s.dial(), time.Now()
				io.WriteString(agent, "POST / HTTP/1.1\r\nHost: "+plainHost+"\r\n"+framing)
				got := make(chan string)
				go func() {
					text, _ := io.ReadAll(<-s.upstream)
					got <- string(text)
				}()
				text, waited := ended(agent, start)
				if !strings.HasPrefix(text, "HTTP/1.1 408 ") || waited < readTimeout || waited > readTimeout+2*drainTimeout {
					t.Errorf("%v: %q", waited, text)
				}
				if arrived := <-got; !strings.Contains(arrived, "abc") || strings.HasSuffix(arrived, "0\r\n\r\n") {
					t.Errorf("upstream got %q", arrived)
				}
				agent.Close()
				s.server.group.Close()
				if rec := s.sink.last(1); rec.Reason != audit.ReasonTimeout {
					t.Errorf("record %+v", rec)
				}
			})
		})
	}
}

// TestD1SlowRead: an agent that does not read its answer.
func TestD1SlowRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, netip.AddrPortFrom(synthetic(plainHost), 80))
		agent, start := s.dial(), time.Now()
		io.WriteString(agent, "GET / HTTP/1.1\r\nHost: "+plainHost+"\r\n\r\n")
		up := <-s.upstream
		http.ReadRequest(bufio.NewReader(up))
		io.WriteString(up, "HTTP/1.1 200 OK\r\n\r\n")
		for { // until the proxy gives up
			if _, err := up.Write(make([]byte, 4096)); err != nil {
				break
			}
		}
		if waited := time.Since(start); waited < writeTimeout || waited > writeTimeout+2*drainTimeout {
			t.Errorf("held for %v", waited)
		}
		agent.Close()
		s.server.group.Close()
	})
}

// TestD1SlowReadOverH2: a peer that opens no window for an answer, whether it is
// still being written or in net/http's buffer.
func TestD1SlowReadOverH2(t *testing.T) {
	for name, size := range map[string]int{"long": 1 << 20, "short": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				agent, far := net.Pipe()
				server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					out := newH2Writer(w)
					out.head(200, http.Header{}, int64(size), false)
					out.Write(make([]byte, size))
					out.end(nil)
				})}
				server.Protocols.SetUnencryptedHTTP2(true)
				l := &pairListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
				l.conns <- far
				go server.Serve(l)
				start := time.Now()
				go func() {
					io.WriteString(agent, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
					agent.Write(frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})) // SETTINGS_INITIAL_WINDOW_SIZE
					agent.Write(frame(frameHeaders, flagEndStream|flagEndHeaders, 1, fieldBlock(fields()...)))
				}()
				kind := byte(frameHeaders)
				for kind != frameReset {
					var err error
					if kind, _, err = readFrame(agent); err != nil || kind == frameData {
						t.Fatalf("frame %d: %v", kind, err)
					}
				}
				if waited := time.Since(start); waited != writeTimeout {
					t.Errorf("held for %v", waited)
				}
				server.Close()
				agent.Close()
			})
		})
	}
}

// TestD1StalledUpstream: one that does not read a request, or its body.
func TestD1StalledUpstream(t *testing.T) {
	for name, read := range map[string]int{"head": 0, "body": 200} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow(t, netip.AddrPortFrom(synthetic(plainHost), 80))
				agent, start := s.dial(), time.Now()
				go io.WriteString(agent, "POST / HTTP/1.1\r\nHost: "+plainHost+"\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 500000))
				up := <-s.upstream
				io.CopyN(io.Discard, up, int64(read))
				if text, waited := ended(agent, start); !strings.HasPrefix(text, "HTTP/1.1 50") || waited > writeTimeout+expectContinue+2*drainTimeout {
					t.Errorf("%v: %q", waited, text)
				}
				agent.Close()
				s.server.group.Close()
			})
		})
	}
}

// TestD1SlowWebSocket: when one side has ended, the other has halfCloseTimeout.
func TestD1SlowWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, agent := net.Pipe()
		up, upstream := net.Pipe()
		start, done := time.Now(), make(chan struct{})
		go func() {
			defer close(done)
			newWebSocket(pipeConn{down}, pipeConn{up}).join(up)
		}()
		go io.Copy(io.Discard, upstream)
		io.WriteString(agent, "\x81\xfe\x01") // and never the rest
		agent.Close()
		<-done
		if waited := time.Since(start); waited > halfCloseTimeout {
			t.Errorf("held for %v", waited)
		}
		upstream.Close()
	})
}

// TestD2IdleConnections: what an idle connection of the agent costs, with its
// TLS and its goroutine, and that it is served after.
func TestD2IdleConnections(t *testing.T) {
	const count, limit = 500, 64 << 10
	r, up, _ := newWorldWith(t, func(c *Config) { c.Limits.Connections = count + 1 })
	conns := make([]*tls.Conn, count)
	before := resident()
	for i := range conns {
		conns[i] = r.dialTLS(apiHost, "http/1.1")
	}
	// Half of it or more is the client's end.
	if each := (resident() - before) / count; each > limit {
		t.Errorf("%d bytes for an idle connection, both ends", each)
	} else {
		t.Logf("%d bytes for an idle connection, both ends", each)
	}
	for i, conn := range conns {
		if resp, _ := r.rawOn(conn, request(apiHost)); resp.StatusCode != 200 {
			t.Fatalf("connection %d: %d", i, resp.StatusCode)
		}
	}
	if up.count() != count {
		t.Errorf("%d requests upstream", up.count())
	}
}

// resident is the memory that the runtime holds in use.
func resident() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestD5EndlessLine: a line without an end, wherever one is read.
func TestD5EndlessLine(t *testing.T) {
	r, up, _ := newWorld(t)
	for name, begin := range map[string]string{
		"request line": "GET /", "field name": "GET / HTTP/1.1\r\nX", "field value": "GET / HTTP/1.1\r\nX: ",
	} {
		conn := r.dialTLS(apiHost, "http/1.1")
		var sent atomic.Int64
		go func() {
			io.WriteString(conn, begin)
			for text := strings.Repeat("y", 4096); ; {
				n, err := io.WriteString(conn, text)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}()
		if resp, body := r.read(bufio.NewReader(conn)); resp.StatusCode != 431 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		conn.Close()
	}
	conn := r.dialTLS(apiHost, "http/1.1")
	go io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("0", 1<<20))
	if resp, body := r.read(bufio.NewReader(conn)); resp.StatusCode != 400 {
		t.Errorf("chunk line: %d %s", resp.StatusCode, body)
	}
	if up.count() != 0 {
		t.Errorf("%d requests upstream", up.count())
	}
}

// countingCA counts what it is asked to mint.
type countingCA struct {
	Authority
	asked atomic.Int64
}

func (c *countingCA) Leaf(host string) (*tls.Certificate, error) {
	c.asked.Add(1)
	return c.Authority.Leaf(host)
}

// TestD8MintFlood: server names that are not the connection's mint nothing.
func TestD8MintFlood(t *testing.T) {
	counting := &countingCA{}
	r, up, _ := newWorldWith(t, func(c *Config) { counting.Authority, c.CA = c.CA, counting })
	for i := range 300 {
		name := strings.Repeat("a", i%60+1) + ".openai.test"
		conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)), r.tlsConfig(name, "h2"))
		if err := conn.Handshake(); err == nil {
			t.Fatalf("%s: handshake", name)
		}
		conn.Close()
	}
	if n := counting.asked.Load(); n != 0 || up.connections() != 0 {
		t.Errorf("%d leaves were asked for", n)
	}
}

// TestD9LoopToItself: a policy that leads a host to the proxy's own listener:
// such a connection has no origin, and ends at once.
func TestD9LoopToItself(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, testSession(l.Addr().String(), l.Addr().String()), newAuthority(t), nil)
	go r.server.Serve(l)
	resp, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if resp.StatusCode != 502 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	list := r.sink.wait(2)
	if len(list) != 2 || list[0].Reason != audit.ReasonOriginMissing && list[1].Reason != audit.ReasonOriginMissing {
		t.Errorf("records %+v", list)
	}
}

// TestD11OtherSessionsAreServed: a session at its limits, with heads, bodies and
// streams that do not end, costs another one nothing but time.
func TestD11OtherSessionsAreServed(t *testing.T) {
	full, _, _ := newWorldWith(t, func(c *Config) { c.Limits.Connections = 8 })
	for i := range 8 {
		conn := full.dialTLS(apiHost, "http/1.1")
		io.WriteString(conn, []string{"GET / HT", "POST / HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "Content-Length: 1000000\r\n\r\nab"}[i%2])
	}
	conn := full.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a ninth connection was served")
	}
	if rec := full.sink.last(1); rec.Reason != audit.ReasonConnectionLimit {
		t.Errorf("record %+v", rec)
	}
	other, _, _ := newWorld(t)
	for range 20 {
		if resp, _ := other.do(other.client(true), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)}); resp.StatusCode != 200 {
			t.Errorf("%d", resp.StatusCode)
		}
	}
}

// newWorldWith is newWorld, changed.
func newWorldWith(t testing.TB, change func(*Config)) (*rig, *recorder, *recorder) {
	t.Helper()
	world := newAuthority(t)
	up, plain := newRecorder(t, world, nil), newRecorder(t, nil, nil)
	return newRig(t, testSession(up.address(), plain.address()), world, change), up, plain
}
