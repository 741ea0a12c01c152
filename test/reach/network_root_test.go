// SPDX-License-Identifier: Apache-2.0

//go:build root

package reach

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

const (
	apiName   = "api.corp.example"
	gitName   = "git.corp.example"
	elsewhere = "elsewhere.example"
)

// network is a company's: a name server of its own on an address of its own,
// with what it was asked.
type network struct {
	*rig.World
	t *testing.T

	mu    sync.Mutex
	asked []string
}

// newNetwork starts a name server at address, which answers from zone alone,
// and makes it the world's, as text of /etc/resolv.conf says.
func newNetwork(t *testing.T, address, resolvConf string, zone map[string]string) *network {
	t.Helper()
	n := &network{World: rig.New(t), t: t}
	for _, addr := range zone {
		n.own(addr)
	}
	host, _, _ := net.SplitHostPort(address)
	n.own(host)
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		n.answer(w, m, zone)
	})}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	n.Write("/etc/resolv.conf", []byte(resolvConf), 0o644)
	return n
}

// own gives the world an address; those of the loopback it has.
func (n *network) own(address string) {
	n.t.Helper()
	if ip := net.ParseIP(address); ip.IsLoopback() {
		return
	}
	err := n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(address + "/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil && !os.IsExist(err) {
			return err
		}
		return nil
	})
	if err != nil {
		n.t.Fatalf("own %s: %v", address, err)
	}
}

func (n *network) answer(w dns.ResponseWriter, m *dns.Msg, zone map[string]string) {
	q := m.Question[0]
	n.mu.Lock()
	n.asked = append(n.asked, strings.TrimSuffix(q.Name, "."))
	n.mu.Unlock()
	r := new(dns.Msg).SetReply(m)
	addr, known := zone[strings.ToLower(strings.TrimSuffix(q.Name, "."))]
	if all := zone["*"]; !known && all != "" {
		addr, known = all, true
	}
	switch {
	case !known:
		r.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(addr)}}
	}
	w.WriteMsg(r)
}

// questions are the names that were asked for, without the types.
func (n *network) questions() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(n.asked)))
}

// upstream serves the names at address, over TLS on port 443 of it.
func (n *network) upstream(address string, names ...string) *rig.Upstream {
	n.t.Helper()
	u := rig.NewUpstream(n.t, func(network, _ string) (net.Listener, error) {
		return n.Listen(network, net.JoinHostPort(address, "443"))
	})
	for _, name := range names {
		u.Serve(name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, u.Answer+" "+r.Header.Get("Authorization"))
		}))
	}
	return u
}

// trust is the policy's section that has the names verified against u's roots,
// and dials them by name.
func trust(u *rig.Upstream, names ...string) string {
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  %s: {ca: %q}\n", name, u.CA)
	}
	return b.String()
}

func fetch(name string) []string {
	return []string{"curl", "-sS", "--max-time", "15", "https://" + name + "/"}
}

// A company's name server that is asked by way of systemd's stub, as
// /etc/resolv.conf of most desktops says, and knows private names.
func TestPrivateNamesOfASplitResolver(t *testing.T) {
	n := newNetwork(t, "127.0.0.53:53", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch corp.example lan\n",
		map[string]string{apiName: "10.20.30.40", gitName: "10.20.30.40"})
	// The file is a link out of /etc, to where the resolver writes it.
	const written = "/var/lib/resolve/stub-resolv.conf"
	n.Write(written, n.Read("/etc/resolv.conf"), 0o644)
	err := n.Do(func() error {
		return errors.Join(os.Remove("/etc/resolv.conf"), os.Symlink(written, "/etc/resolv.conf"))
	})
	if err != nil {
		t.Fatal(err)
	}
	u := n.upstream("10.20.30.40", apiName, gitName)
	policy := fmt.Sprintf("version: 1\negress:\n  - {host: %s, networks: [10.20.0.0/16]}\n  - {host: %s}\n", apiName, gitName) + trust(u, apiName, gitName)
	if r := n.Run(rig.Session{Policy: policy, Args: fetch(apiName)}); r.Exit != 0 || !strings.Contains(r.Stdout, u.Answer) {
		t.Errorf("a private name with networks: %v", r)
	}
	r := n.Run(rig.Session{Policy: policy, Args: fetch(gitName)})
	if !strings.Contains(r.Stdout, `"reason":"dial_refused"`) || !strings.Contains(r.Stdout, "networks") || strings.Contains(r.Stdout, u.Answer) {
		t.Errorf("a private name without networks: %v", r)
	}
	if r := n.Run(rig.Session{Policy: policy + "upstream: {networks: [10.0.0.0/8]}\n", Args: fetch(gitName)}); !strings.Contains(r.Stdout, u.Answer) {
		t.Errorf("with upstream.networks: %v", r)
	}
	// The search list is for people: no name is tried with another's end.
	if got := n.questions(); !slices.Equal(got, []string{apiName, gitName}) {
		t.Errorf("the name server was asked for %q", got)
	}
}

// The first of several name servers is down.
func TestSecondNameServerAnswers(t *testing.T) {
	n := newNetwork(t, "127.0.0.2:53", "nameserver 127.0.0.3\nnameserver 127.0.0.2\noptions timeout:1 attempts:1\n", map[string]string{apiName: "10.20.30.40"})
	u := n.upstream("10.20.30.40", apiName)
	policy := fmt.Sprintf("version: 1\negress: [{host: %s, networks: [10.20.30.40]}]\n", apiName) + trust(u, apiName)
	if r := n.Run(rig.Session{Policy: policy, Args: fetch(apiName)}); !strings.Contains(r.Stdout, u.Answer) {
		t.Errorf("got %v", r)
	}
}

// An address range is reached by address, port by port, and nothing beside it.
func TestAddressRange(t *testing.T) {
	n := newNetwork(t, "127.0.0.2:53", "nameserver 127.0.0.2\n", map[string]string{"a": "10.20.30.40", "b": "10.21.0.1"})
	for _, address := range []string{"10.20.30.40:7000", "10.20.30.40:7001", "10.21.0.1:7000"} {
		l, err := n.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(conn, "hello from "+address)
				conn.Close()
			}
		}()
	}
	script := `
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try: print(socket.create_connection((host, int(port)), 10).recv(100).decode() or "closed")
    except OSError as e: print(type(e).__name__)
`
	r := n.Run(rig.Session{
		Policy: "version: 1\negress: [{address: 10.20.0.0/16, port: 7000, protocol: tcp}]\n",
		Args:   []string{"python3", "-c", script, "10.20.30.40:7000", "10.20.30.40:7001", "10.21.0.1:7000"},
	})
	lines := strings.Split(r.Stdout, "\n")
	if len(lines) != 4 || lines[0] != "hello from 10.20.30.40:7000" || strings.Contains(lines[1]+lines[2], "hello") || lines[2] != "ConnectionRefusedError" {
		t.Errorf("got %v", r)
	}
}

// A VPN that answers every name with an address of its own making is said to be
// one, in one line, and one key lets it be.
func TestFakeAddressesOfAVPN(t *testing.T) {
	n := newNetwork(t, "127.0.0.2:53", "nameserver 127.0.0.2\n", map[string]string{"*": "198.18.3.4"})
	u := n.upstream("198.18.3.4", apiName)
	policy := fmt.Sprintf("version: 1\negress: [{host: %s}]\n", apiName) + trust(u, apiName)
	args := []string{"sh", "-c", "curl -sS https://" + apiName + "/; curl -sS https://" + apiName + "/"}
	r := n.Run(rig.Session{Policy: policy, Args: args})
	if strings.Contains(r.Stdout, u.Answer) || strings.Count(r.Stderr, "fake addresses") != 1 || !strings.Contains(r.Stderr, "upstream: {networks: [198.18.0.0/15]}") {
		t.Errorf("without the key: %v", r)
	}
	r = n.Run(rig.Session{Policy: policy + "upstream: {networks: [198.18.0.0/15]}\n", Args: args})
	if strings.Count(r.Stdout, u.Answer) != 2 || strings.Contains(r.Stderr, "phantom-ns") {
		t.Errorf("with the key: %v", r)
	}
}

// gate is a company's HTTP proxy at an address of the network, which alone knows
// where names are.
type gate struct {
	url   string
	mu    sync.Mutex
	heads []string
}

func (n *network) gate(address, authorization string, to *rig.Upstream) *gate {
	n.t.Helper()
	l, err := n.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	g := &gate{url: address}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(n, conn, authorization, to)
		}
	}()
	return g
}

func (g *gate) serve(n *network, conn net.Conn, authorization string, to *rig.Upstream) {
	defer conn.Close()
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	g.mu.Lock()
	g.heads = append(g.heads, request.Method+" "+request.RequestURI)
	g.mu.Unlock()
	if request.Header.Get("Proxy-Authorization") != authorization {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	var up net.Conn
	if err := n.Do(func() (err error) {
		up, err = net.Dial("tcp", to.Address())
		return err
	}); err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	proxy.Splice(conn, up)
}

func (g *gate) asked() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.heads, "\n")
}

// Behind a company's proxy: it has a private name itself, wants a password, and
// is the only one that can resolve other names. The real credential goes
// through it inside TLS that it cannot read.
func TestCompanyProxy(t *testing.T) {
	n := newNetwork(t, "10.0.0.2:53", "nameserver 10.0.0.2\nsearch corp.example\n",
		map[string]string{"proxy.corp.example": "10.0.0.3", gitName: "10.20.30.40"})
	u := n.upstream("10.20.30.40", elsewhere, gitName)
	basic := "Basic YWdlbnQ6czNjcmV0" // agent:s3cret
	g := n.gate("10.0.0.3:3128", basic, u)
	key := rig.Canary(t, "key-")
	policy := fmt.Sprintf("version: 1\ncredentials:\n  demo: {from: %q, env: [DEMO_KEY], hosts: [%s]}\negress:\n  - {host: %s, networks: [10.20.0.0/16]}\n",
		n.Secret("demo", key), elsewhere, gitName) + trust(u, elsewhere, gitName)
	n.Write("/etc/phantom-ns/proxy.secret", []byte("s3cret\n"), 0o600)
	inline := "upstream: {proxy: \"http://agent:s3cret@proxy.corp.example:3128\"}\n"
	use := []string{"sh", "-c", "curl -sS -H \"Authorization: Bearer $DEMO_KEY\" https://" + elsewhere + "/ && curl -sS https://" + gitName + "/"}
	n.Write("/etc/phantom-ns/inline.yaml", []byte(policy+inline), 0o600)
	n.Write("/etc/phantom-ns/open.yaml", []byte(policy+inline), 0o644)
	n.Give("/home/phantom-test/.config/own.yaml", []byte("version: 1\n"+inline), 0o600)
	n.Give("/home/phantom-test/.config/stored.yaml", []byte("version: 1\nupstream: {proxy: \"http://proxy.corp.example:3128\", user: agent, password: \"store:openai\"}\n"), 0o600)

	referred := policy + "upstream: {proxy: \"http://proxy.corp.example:3128\", user: agent, password: \"file:/etc/phantom-ns/proxy.secret\"}\n"
	for name, session := range map[string]rig.Session{
		"password from a file":   {Policy: referred, Args: use},
		"password in the policy": {Flags: []string{"--policy", "/etc/phantom-ns/inline.yaml"}, Args: use},
	} {
		r := n.Run(session)
		if r.Exit != 0 || strings.Count(r.Stdout, u.Answer) != 2 || strings.Contains(r.Stderr, "phantom-ns") {
			t.Errorf("%s: %v", name, r)
		}
		if hits := rig.NewOracle(key).Bytes("output", r.Bytes()); len(hits) > 0 || strings.Contains(r.Stdout+r.Stderr, "s3cret") {
			t.Errorf("%s: the agent saw %v", name, r)
		}
	}
	if got := g.asked(); got != "CONNECT "+elsewhere+":443\nCONNECT "+elsewhere+":443" {
		t.Errorf("the proxy was asked %q; the private name is not its business", got)
	}
	for _, e := range u.Exchanges(elsewhere) {
		if e.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("upstream got %q", e.Header.Get("Authorization"))
		}
	}
	if slices.Contains(n.questions(), elsewhere) {
		t.Error("a name that is the proxy's to resolve was looked up here")
	}
	for name, c := range map[string]struct {
		session rig.Session
		says    string
	}{
		"password in sight":       {rig.Session{Flags: []string{"--policy", "/etc/phantom-ns/open.yaml"}}, "chmod 600"},
		"password of the user's":  {rig.Session{Flags: []string{"--policy", "/home/phantom-test/.config/own.yaml"}}, "others than root"},
		"stored key to any proxy": {rig.Session{Flags: []string{"--policy", "/home/phantom-test/.config/stored.yaml"}}, "stored secret"},
		"no such password":        {rig.Session{Policy: strings.Replace(referred, "proxy.secret", "nothing", 1)}, "upstream password"},
	} {
		c.session.Args = []string{"echo", "started"}
		if r := n.Run(c.session); r.Exit != 125 || !strings.Contains(r.Stderr, c.says) || strings.Contains(r.Stdout, "started") || strings.Contains(r.Stderr, "s3cret") {
			t.Errorf("%s: %v", name, r)
		}
	}
	// A wrong password is told to the person, once, and to the agent.
	n.Write("/etc/phantom-ns/proxy.secret", []byte("wrong\n"), 0o600)
	r := n.Run(rig.Session{Policy: referred, Args: []string{"sh", "-c", "curl -sS https://" + elsewhere + "/ -H \"Authorization: Bearer $DEMO_KEY\"; curl -sS https://" + elsewhere + "/ -H \"Authorization: Bearer $DEMO_KEY\""}})
	if strings.Count(r.Stderr, "upstream proxy answers 407") != 1 || strings.Count(r.Stdout, "another user or password") != 2 || strings.Contains(r.Stdout+r.Stderr, "wrong") {
		t.Errorf("a wrong password: %v", r)
	}
	for _, r := range n.Audit() {
		if r.Verdict == audit.Deny && r.Kind == audit.KindRequest && r.Reason != audit.ReasonUpstreamUnreachable {
			t.Errorf("record: %+v", r)
		}
	}
}

// A stored password goes to the proxy that it was stored for.
func TestStoredProxyPassword(t *testing.T) {
	n := newNetwork(t, "10.0.0.2:53", "nameserver 10.0.0.2\n", map[string]string{"proxy.corp.example": "10.0.0.3"})
	u := n.upstream("10.0.0.3", elsewhere)
	n.gate("10.0.0.3:3128", "Basic YWdlbnQ6YS1sb25nZXItcGFzc3dvcmQ=", u) // agent:a-longer-password
	policy := "version: 1\negress: [{host: " + elsewhere + "}]\n" + trust(u, elsewhere) +
		"upstream: {proxy: \"http://proxy.corp.example:3128\", user: agent, password: \"store:gate\"}\n"
	session := rig.Session{Policy: policy, Args: fetch(elsewhere)}
	if r := n.Command(strings.NewReader("a-longer-password\n"), "secret", "set", "gate", "--host", "another.corp.example"); r.Exit != 0 {
		t.Fatal(r)
	}
	if r := n.Run(session); r.Exit != 125 || !strings.Contains(r.Stderr, "not bound to the proxy's host") || !strings.Contains(r.Stderr, "--host") {
		t.Errorf("stored for another host: %v", r)
	}
	if r := n.Command(strings.NewReader("a-longer-password\n"), "secret", "set", "gate", "--host", "proxy.corp.example"); r.Exit != 0 {
		t.Fatal(r)
	}
	if r := n.Run(session); r.Exit != 0 || !strings.Contains(r.Stdout, u.Answer) {
		t.Errorf("stored for the proxy: %v", r)
	}
}
