// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

const poolHost = "api.example.test"

// poolRig is a pool, an upstream, and where both write to.
type poolRig struct {
	t        *testing.T
	pool     *Pool
	dir      string
	world    *ca.Authority // of the upstream
	upstream *httptest.Server

	mu       sync.Mutex
	seen     []*http.Request
	conns    map[string]bool // of the upstream, by the other end
	records  []audit.Record
	recorded *sync.Cond
	ended    chan string
}

func (r *poolRig) config() PoolConfig {
	return PoolConfig{
		Seed:   []byte("0123456789abcdef0123456789abcdef"),
		Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
		Notify: func(line string) { r.t.Log(line) },
		Ended:  func(session string, _ error) { r.ended <- session },
		Records: func(all []audit.Record) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.records = append(r.records, all...)
			r.recorded.Broadcast()
		},
	}
}

// newPoolRig has a pool whose process is this one, without its fence, and whose
// sessions' listeners are ordinary ones: every connection means poolHost.
func newPoolRig(t *testing.T) *poolRig {
	r := newPoolWorld(t)
	r.pool = newPool(r.config())
	ours, theirs, err := newControlPair()
	if err != nil {
		t.Fatal(err)
	}
	control, err := openControl(theirs)
	if err != nil {
		t.Fatal(err)
	}
	records, sink, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stage := newProxyStage(control, audit.NewEncoder(sink), r.config().Logger)
	stage.origin = func(...netip.Addr) func(net.Conn) (proxy.Origin, error) {
		return func(net.Conn) (proxy.Origin, error) {
			return proxy.Origin{Dst: netip.MustParseAddrPort("198.18.0.1:443"), PID: 1}, nil
		}
	}
	p := &proxyProcess{pid: os.Getpid(), control: ours, exited: make(chan struct{}), broken: r.config().Ended, asked: make(map[uint64]chan message)}
	go p.listen()
	go func() {
		defer close(p.exited)
		defer sink.Close()
		if err := stage.serve(); err != nil {
			t.Error(err)
		}
	}()
	r.pool.proxy = p
	r.pool.collect(records)
	t.Cleanup(func() { r.pool.Close() })
	return r
}

func newPoolWorld(t *testing.T) *poolRig {
	t.Helper()
	r := &poolRig{t: t, dir: t.TempDir(), ended: make(chan string, 8), conns: make(map[string]bool)}
	r.recorded = sync.NewCond(&r.mu)
	var err error
	if r.world, err = ca.New(ca.Options{}); err != nil {
		t.Fatal(err)
	}
	r.write("world.pem", string(r.world.PEM()))
	r.upstream = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen, r.conns[req.RemoteAddr] = append(r.seen, req), true
		r.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "42", Secure: true})
		io.WriteString(w, "got "+req.Header.Get("Authorization"))
	}))
	r.upstream.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return r.world.Leaf(hello.ServerName)
	}}
	r.upstream.StartTLS()
	t.Cleanup(r.upstream.Close)
	return r
}

func (r *poolRig) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// policyFile is a policy with one credential, whose value is in the file
// NAME.key. more is further keys.
func (r *poolRig) policyFile(name, more string) *policy.File {
	r.t.Helper()
	text := fmt.Sprintf(`version: 1
credentials:
  key:
    from: file:%s/%s.key
    env: [API_KEY]
    hosts: [%s]
hosts:
  %s: {connect: %q, ca: %s/world.pem}
%s`, r.dir, name, poolHost, poolHost, r.upstream.Listener.Addr(), r.dir, more)
	f, err := policy.Parse(name+".yaml", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func (r *poolRig) add(name, value string, before PolicyFacts) PolicyFacts {
	r.t.Helper()
	r.write(name+".key", value)
	facts, err := r.pool.AddPolicy(r.t.Context(), name, r.policyFile(name, ""), before)
	if err != nil {
		r.t.Fatal(err)
	}
	return facts
}

// poolSession is one session with ordinary listeners.
type poolSession struct {
	rig   *poolRig
	id    string
	facts PolicyFacts
	tcp   string                   // where a connection of a client begins
	stub  string                   // where a client asks for names
	do    func(func() error) error // in the session's namespace; nil: it has none
}

// inside does f where the session's clients are.
func (s *poolSession) inside(f func() error) error {
	if s.do == nil {
		return f()
	}
	return s.do(f)
}

// loopbackListeners are what a namespace would have, on ports that are free.
func loopbackListeners(t testing.TB) *sandbox.Listeners {
	t.Helper()
	l := new(sandbox.Listeners)
	for _, to := range []struct {
		address string
		tcp     []**os.File
		udp     **os.File
	}{{"127.0.0.1:0", []**os.File{&l.TCP4, &l.DNSTCP4}, &l.DNS4}, {"[::1]:0", []**os.File{&l.TCP6, &l.DNSTCP6}, &l.DNS6}} {
		for _, slot := range to.tcp {
			listener, err := net.Listen("tcp", to.address)
			if err != nil {
				t.Fatal(err)
			}
			if *slot, err = listener.(*net.TCPListener).File(); err != nil {
				t.Fatal(err)
			}
			listener.Close()
		}
		conn, err := net.ListenPacket("udp", to.address)
		if err != nil {
			t.Fatal(err)
		}
		if *to.udp, err = conn.(*net.UDPConn).File(); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	return l
}

// start serves a session and asks its stub for the host, which every connection
// of the session is for then.
func (r *poolRig) start(id, name string, facts PolicyFacts) *poolSession {
	r.t.Helper()
	l := loopbackListeners(r.t)
	defer l.Close()
	s := &poolSession{rig: r, id: id, facts: facts}
	tcp, err := net.FileListener(l.TCP4)
	if err != nil {
		r.t.Fatal(err)
	}
	stub, err := net.FilePacketConn(l.DNS4)
	if err != nil {
		r.t.Fatal(err)
	}
	s.tcp, s.stub = tcp.Addr().String(), stub.LocalAddr().String()
	tcp.Close()
	stub.Close()
	err = r.pool.AddSession(SessionConfig{
		ID: id, Policy: name, Hostname: id, Listeners: l,
		Own4: netip.MustParseAddr("198.18.255.1"), Own6: netip.MustParseAddr("fd70:6861:6e74::1"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := s.lookup(poolHost); got != "198.18.0.1" {
		r.t.Fatalf("%s is %s", poolHost, got)
	}
	return s
}

func (s *poolSession) lookup(name string) string {
	s.rig.t.Helper()
	var reply *dns.Msg
	err := s.inside(func() (err error) {
		reply, _, err = new(dns.Client).Exchange(new(dns.Msg).SetQuestion(name+".", dns.TypeA), s.stub)
		return err
	})
	if err != nil {
		s.rig.t.Fatal(err)
	}
	if len(reply.Answer) == 0 {
		return dns.RcodeToString[reply.Rcode]
	}
	return reply.Answer[0].(*dns.A).A.String()
}

var errNoAnswer = errors.New("no answer")

// dial is a verified connection, as a client of the session's would have it.
func (s *poolSession) dial() (*tls.Conn, error) {
	var conn net.Conn
	err := s.inside(func() (err error) { conn, err = net.Dial("tcp", s.tcp); return err })
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.facts.CA)
	secured := tls.Client(conn, &tls.Config{ServerName: poolHost, RootCAs: roots})
	if err := secured.Handshake(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.rig.t.Cleanup(func() { secured.Close() })
	return secured, nil
}

// ask sends one request with a placeholder and returns what came back.
func (s *poolSession) ask(placeholder string, header ...string) (int, string, error) {
	conn, err := s.dial()
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	return s.askOn(conn, placeholder, header...)
}

func (s *poolSession) askOn(conn net.Conn, placeholder string, header ...string) (int, string, error) {
	more := ""
	for _, line := range header {
		more += line + "\r\n"
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", poolHost, placeholder, more)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", errors.Join(errNoAnswer, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// recordsOf returns the records of one session once there are n.
func (r *poolRig) recordsOf(session string, n int) []audit.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var own []audit.Record
		for _, record := range r.records {
			if record.Session == session {
				own = append(own, record)
			}
		}
		if len(own) >= n {
			return own
		}
		r.recorded.Wait()
	}
}

// last is the request that the upstream saw last.
func (r *poolRig) last() *http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[len(r.seen)-1]
}
