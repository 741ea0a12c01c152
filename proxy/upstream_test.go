// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// recorder is an upstream that keeps every byte it is sent and answers each
// request with respond, or 200 and "ok". An empty answer ends the connection.
type recorder struct {
	listener net.Listener
	respond  func(*http.Request) string
	echo     bool   // WebSocket frames, after the answer
	after    string // written behind each answer, by itself
	early    bool   // the answer comes for the head; no body is read

	mu       sync.Mutex
	bytes    bytes.Buffer
	requests []*http.Request
	conns    int
	answered int
	cond     *sync.Cond
	open     []net.Conn
	wg       sync.WaitGroup
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newRecorder listens with leaf certificates of world for any name of the
// tests, or in the clear without world.
func newRecorder(t testing.TB, world *ca.Authority, change func(*tls.Config)) *recorder {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if world != nil {
		config := &tls.Config{
			NextProtos: []string{"http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return world.Leaf(hello.ServerName)
			},
		}
		if change != nil {
			change(config)
		}
		l = tls.NewListener(l, config)
	}
	r := &recorder{listener: l}
	r.wg.Add(1)
	go r.serve()
	t.Cleanup(r.close)
	return r
}

func (r *recorder) close() {
	r.listener.Close()
	r.mu.Lock()
	for _, c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *recorder) serve() {
	defer r.wg.Done()
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns++
		r.open = append(r.open, conn)
		r.mu.Unlock()
		r.wg.Add(1)
		go r.serveConn(conn)
	}
}

type recordingReader struct {
	r    *recorder
	conn net.Conn
}

func (rr recordingReader) Read(p []byte) (int, error) {
	n, err := rr.conn.Read(p)
	rr.r.mu.Lock()
	rr.r.bytes.Write(p[:n])
	rr.r.mu.Unlock()
	return n, err
}

func (r *recorder) serveConn(conn net.Conn) {
	defer r.wg.Done()
	defer conn.Close()
	br := bufio.NewReader(recordingReader{r, conn})
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if !r.early {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		r.mu.Lock()
		r.requests = append(r.requests, req)
		respond, echo := r.respond, r.echo
		r.mu.Unlock()
		answer := okAnswer
		if respond != nil {
			answer = respond(req)
		}
		if _, err := io.WriteString(conn, answer); err != nil || answer == "" || strings.Contains(answer, "Connection: close") {
			return
		}
		if echo {
			echoFrames(conn, br)
			return
		}
		io.WriteString(conn, r.after)
		r.idle()
	}
}

// idle notes that an answer was written whole.
func (r *recorder) idle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered++
	if r.cond != nil {
		r.cond.Broadcast()
	}
}

// settled returns when every request that came was answered whole.
func (r *recorder) settled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cond == nil {
		r.cond = sync.NewCond(&r.mu)
	}
	for r.answered < len(r.requests) {
		r.cond.Wait()
	}
}

func (r *recorder) seen() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.String()
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *recorder) last(t testing.TB) *http.Request {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == 0 {
		t.Fatal("nothing arrived upstream")
	}
	return r.requests[len(r.requests)-1]
}

func (r *recorder) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns
}

func (r *recorder) address() string { return r.listener.Addr().String() }

func testLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var anything = []policy.Allow{{Method: "*", Glob: "*", Rule: "test:1"}}

// testSession is a session with one of each, all at the upstream at.
func testSession(at, plainAt string) *policy.Session {
	s := &policy.Session{
		Credentials: []policy.Credential{
			{
				Name: "openai", Hosts: []string{apiHost}, Allow: anything, Anonymous: policy.AnonymousDeny, Rule: "test:1",
				Positions: []policy.Position{{Kind: policy.PositionBearer}, {Kind: policy.PositionHeader, Name: "x-api-key"}},
				Challenge: "Bearer",
			},
			{
				Name: "github", Hosts: []string{gitHost}, Allow: anything, Anonymous: policy.AnonymousRead, Rule: "test:2",
				Positions: []policy.Position{
					{Kind: policy.PositionToken}, {Kind: policy.PositionBearer},
					{Kind: policy.PositionBasic, Name: policy.BasicPassword},
				},
				Challenge: `Basic realm="github.test"`,
			},
		},
		Egress: []policy.Egress{
			{Host: openHost, Port: 443, Protocol: policy.HTTPS, Rule: "test:3",
				Allow: []policy.Allow{{Method: "GET", Glob: "*", Rule: "test:3"}, {Method: "HEAD", Glob: "*", Rule: "test:3"}}},
			{Host: passHost, Port: 443, Protocol: policy.HTTPS, Passthrough: true, Rule: "test:4"},
			{Host: plainHost, Port: 80, Protocol: policy.HTTP, Allow: anything, Rule: "test:5"},
			{Host: tcpHost, Port: 5432, Protocol: policy.TCP, Rule: "test:6"},
		},
	}
	for _, host := range []string{apiHost, gitHost, openHost, passHost} {
		s.Hosts = append(s.Hosts, policy.HostTarget{Host: host, Connect: at, Rule: "test:7"})
	}
	for _, host := range []string{plainHost, tcpHost} {
		s.Hosts = append(s.Hosts, policy.HostTarget{Host: host, Connect: plainAt, Rule: "test:8"})
	}
	return s
}

// newWorld is a rig with a TLS and a plaintext recorder behind it.
func newWorld(t testing.TB) (*rig, *recorder, *recorder) {
	t.Helper()
	world := newAuthority(t)
	up, plain := newRecorder(t, world, nil), newRecorder(t, nil, nil)
	return newRig(t, testSession(up.address(), plain.address()), world, nil), up, plain
}

// closeConns ends every connection, once what was written has been.
func (r *recorder) closeConns() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		if cw, ok := c.(closeWriter); ok {
			cw.CloseWrite()
		}
	}
}
