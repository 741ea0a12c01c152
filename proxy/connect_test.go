// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const (
	viaUser     = "corp\\agent"
	viaPassword = "kurz"
	viaBasic    = "Basic Y29ycFxhZ2VudDprdXJ6"
)

// connectProxy is a network's own proxy, which connects wherever it is asked to
// one upstream.
type connectProxy struct {
	listener net.Listener
	upstream string
	answer   string // instead of a tunnel
	greeting string // of the upstream, sent with the answer's head

	mu    sync.Mutex
	heads []string // request line and Proxy-Authorization
	wg    sync.WaitGroup
}

func newConnectProxy(t *testing.T, upstream string) *connectProxy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{listener: l, upstream: upstream}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); p.wg.Wait() })
	return p
}

func (p *connectProxy) serve(conn net.Conn) {
	defer conn.Close()
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	authorization := request.Header.Get("Proxy-Authorization")
	p.mu.Lock()
	p.heads = append(p.heads, fmt.Sprintf("%s %s host=%s %s", request.Method, request.RequestURI, request.Host, authorization))
	p.mu.Unlock()
	switch {
	case p.answer != "":
		io.WriteString(conn, p.answer)
		return
	case authorization != "" && authorization != viaBasic:
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	up, err := net.Dial("tcp", p.upstream)
	if err != nil {
		io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"+p.greeting)
	Splice(conn, up)
}

func (p *connectProxy) asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.heads, "\n")
}

func (p *connectProxy) via(t *testing.T, password string) *Via {
	t.Helper()
	v := &Via{Address: p.listener.Addr().String()}
	if password != "" {
		value, err := secret.New([]byte(password))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(value.Wipe)
		v.User, v.Password = viaUser, value
	}
	return v
}

// viaSession is a session whose names nobody can resolve but the network's
// proxy.
func viaSession(t *testing.T, world *connectProxy, password string, change func(*policy.Session)) (*policy.Session, func(*Config), *fakeResolver) {
	session := testSession("", "")
	session.Hosts = nil
	if change != nil {
		change(session)
	}
	resolver := &fakeResolver{}
	via := world.via(t, password)
	return session, func(c *Config) { c.Via, c.Resolver = via, resolver }, resolver
}

func TestViaProxy(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	network := newConnectProxy(t, up.address())
	session, change, resolver := viaSession(t, network, viaPassword, nil)
	r := newRig(t, session, world, change)
	call := call{url: "https://" + apiHost + "/v1/models", header: one("Authorization", "Bearer "+placeholder)}
	for _, h2 := range []bool{false, true} {
		if resp, body := r.do(r.client(h2), call); resp.StatusCode != 200 || body != "ok" {
			t.Errorf("h2 %t: %d %s", h2, resp.StatusCode, body)
		}
	}
	if !strings.Contains(up.seen(), "Bearer "+canary) {
		t.Error("the credential did not arrive")
	}
	want := "CONNECT " + apiHost + ":443 host=" + apiHost + ":443 " + viaBasic
	for line := range strings.SplitSeq(network.asked(), "\n") {
		if line != want {
			t.Errorf("the network's proxy was asked %q, want %q", line, want)
		}
	}
	if len(resolver.asked) != 0 {
		t.Errorf("looked up here: %v", resolver.asked)
	}
}

// What the network's proxy does wrong sends nothing upstream, and is told
// without a word of its own and without the password.
func TestViaProxyRefuses(t *testing.T) {
	world, stranger := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		password string
		answer   string
		upstream func(t *testing.T) string
		status   int
		reason   audit.Reason
		hint     string
	}{
		"another password": {password: "wrong-password", status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "another user or password"},
		"forbidden":        {answer: "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nevil", status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "403"},
		"a redirect":       {answer: "HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\n\r\n", status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "302"},
		"no HTTP":          {answer: "SSH-2.0-evil\r\n", status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "cannot be reached"},
		"no end":           {answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxConnectHead), status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "cannot be reached"},
		"closed":           {answer: "\x00", status: 502, reason: audit.ReasonUpstreamUnreachable, hint: "cannot be reached"},
		"somebody else": {upstream: func(t *testing.T) string { return newRecorder(t, stranger, nil).address() },
			status: 502, reason: audit.ReasonUpstreamTLS, hint: "certificate"},
		"name of another": {upstream: func(t *testing.T) string {
			return newRecorder(t, world, func(c *tls.Config) {
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return world.Leaf("evil.test") }
			}).address()
		}, status: 502, reason: audit.ReasonUpstreamTLS, hint: "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			up := newRecorder(t, world, nil)
			address := up.address()
			if c.upstream != nil {
				address = c.upstream(t)
			}
			network := newConnectProxy(t, address)
			network.answer = c.answer
			session, change, _ := viaSession(t, network, c.password, nil)
			r := newRig(t, session, world, change)
			resp, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if reason := r.refusedPage(body, 1); resp.StatusCode != c.status || reason != string(c.reason) || !strings.Contains(body, c.hint) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if up.seen() != "" {
				t.Errorf("upstream was sent %q", up.seen())
			}
			if said := body + r.logs.String(); strings.Contains(body, "evil") || c.password != "" && strings.Contains(said, c.password) {
				t.Errorf("told: %s", said)
			}
		})
	}
}

// What the policy itself places is not the network's proxy's business.
func TestViaProxyIsNotForWhatIsNear(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	_, port, _ := splitAddress(up.address())
	network := newConnectProxy(t, "127.0.0.1:1")
	session, change, resolver := viaSession(t, network, "", func(s *policy.Session) {
		s.Hosts = []policy.HostTarget{{Host: openHost, Connect: up.address(), Rule: "test:9"}}
		s.Egress = append(s.Egress, policy.Egress{Host: "git.corp.test", Port: port, Protocol: policy.TCP, Rule: "test:8", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	})
	resolver.answers = []string{"127.0.0.1"}
	r := newRig(t, session, world, change)
	if resp, body := r.do(r.client(false), call{url: "https://" + openHost + "/"}); resp.StatusCode != 200 {
		t.Errorf("hosts.connect: %d %s", resp.StatusCode, body)
	}
	conn, err := r.server.current.Load().upstream.dialer.dialName(t.Context(), "tcp", joinHostPort("git.corp.test", port))
	if err != nil {
		t.Fatalf("networks: %v", err)
	}
	conn.Close()
	if network.asked() != "" || fmt.Sprint(resolver.asked) != "[ip git.corp.test.]" {
		t.Errorf("the network's proxy was asked %q, the resolver %v", network.asked(), resolver.asked)
	}
}

// A server that speaks first, in the same packet as the proxy's answer.
func TestViaProxyKeepsWhatCameEarly(t *testing.T) {
	quiet, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	network := newConnectProxy(t, quiet.Addr().String())
	network.greeting = "220 ready\r\n"
	session, change, _ := viaSession(t, network, "", nil)
	r := newRig(t, session, newAuthority(t), change)
	for _, whole := range []bool{false, true} {
		conn, err := r.server.current.Load().upstream.dialer.dialName(t.Context(), "tcp", tcpHost+":5432")
		if err != nil {
			t.Fatal(err)
		}
		server, err := quiet.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(server, "more")
		server.Close()
		var got strings.Builder
		if whole {
			_, err = io.Copy(&got, conn)
		} else {
			_, err = io.Copy(&got, struct{ io.Reader }{conn})
		}
		if got.String() != "220 ready\r\nmore" || err != nil {
			t.Errorf("read %q, %v", got.String(), err)
		}
		conn.Close()
	}
}

// The proxy's own name may lead to a private address, and not to a metadata
// service.
func TestViaProxyIsGuarded(t *testing.T) {
	up := newRecorder(t, nil, nil)
	_, port, _ := splitAddress(up.address())
	for answer, refused := range map[string]bool{"127.0.0.1": false, "169.254.169.254": true, "100.100.100.200": true, "224.0.0.1": true} {
		d := &dialer{
			resolver: &fakeResolver{answers: []string{answer}}, own: func() ([]netip.Addr, error) { return nil, nil },
			via: &Via{Address: joinHostPort("proxy.corp.test", port)},
		}
		conn, err := d.dialProxy(t.Context())
		if errors.Is(err, errDialRefused) != refused || (err == nil) == refused {
			t.Errorf("%s: %v", answer, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

func TestFakeAddressesAreToldOnce(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	resolver := &fakeResolver{answers: []string{"198.18.7.9"}}
	session := testSession("", "")
	session.Hosts = nil
	r := newRig(t, session, world, func(c *Config) { c.Resolver = resolver })
	for i := range 2 {
		resp, body := r.do(r.client(false), call{url: "https://" + openHost + "/"})
		if reason := r.refusedPage(body, i+1); resp.StatusCode != 502 || reason != string(audit.ReasonDialRefused) || !strings.Contains(body, "198.18.0.0/15") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if n := strings.Count(r.logs.String(), "fake addresses"); n != 1 || up.connections() != 0 {
		t.Errorf("told %d times:\n%s", n, r.logs.String())
	}
}
