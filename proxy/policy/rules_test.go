// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustCompile(t *testing.T, s *Session) *Rules {
	t.Helper()
	r, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func credentialFor(name string, hosts ...string) Credential {
	return Credential{
		Name: name, Hosts: hosts, Positions: []Position{{Kind: PositionBearer}}, Allow: everything("p:1"),
		Anonymous: AnonymousDeny, Rule: "p:1",
	}
}

// A session comes through a pipe: what Resolve never makes is refused.
func TestCompileRefuses(t *testing.T) {
	egress := func(change func(*Egress)) *Session {
		e := Egress{Host: "a.test", Port: 443, Protocol: HTTPS, Rule: "p:9"}
		change(&e)
		return &Session{Egress: []Egress{e}}
	}
	nobody := credentialFor("x", "a.test")
	nobody.Positions = nil
	badGlob := credentialFor("x", "a.test")
	badGlob.Allow = []Allow{{"GET", "x", "p:9"}}
	host := func(h HostTarget) *Session { return &Session{Hosts: []HostTarget{h}} }
	for name, c := range map[string]struct {
		session *Session
		message string
	}{
		"host not canonical":       {egress(func(e *Egress) { e.Host = "A.test" }), "p:9: bad host name: not canonical"},
		"host bad":                 {egress(func(e *Egress) { e.Host = "127.0.0.1" }), "p:9: bad host name"},
		"no destination":           {egress(func(e *Egress) { e.Host = "" }), "neither or both"},
		"two destinations":         {egress(func(e *Egress) { e.Address = netip.MustParsePrefix("10.0.0.0/8") }), "neither or both"},
		"port 0":                   {egress(func(e *Egress) { e.Port = 0 }), "port 0"},
		"port 80 over https":       {egress(func(e *Egress) { e.Port = 80 }), "port 80"},
		"protocol":                 {egress(func(e *Egress) { e.Protocol = "" }), "protocol"},
		"passthrough over http":    {egress(func(e *Egress) { e.Protocol, e.Passthrough = HTTP, true }), "protocol"},
		"address over https":       {egress(func(e *Egress) { e.Host, e.Address = "", netip.MustParsePrefix("10.0.0.0/8") }), "tcp alone"},
		"glob of an entry":         {egress(func(e *Egress) { e.Allow = []Allow{{"GET", "x", "p:9"}} }), "p:9: glob"},
		"same host and port":       {&Session{Egress: []Egress{{Host: "a.test", Port: 443, Protocol: HTTPS, Rule: "p:1"}, {Host: "a.test", Port: 443, Protocol: HTTPS, Rule: "p:2"}}}, "p:2: egress: the same host and port as at p:1"},
		"credential without name":  {&Session{Credentials: []Credential{credentialFor("", "a.test")}}, "no name of its own"},
		"credential twice":         {&Session{Credentials: []Credential{credentialFor("x", "a.test"), credentialFor("x", "b.test")}}, "no name of its own"},
		"credential host":          {&Session{Credentials: []Credential{credentialFor("x", "a.test.")}}, "not canonical"},
		"credential over domain":   {&Session{Credentials: []Credential{credentialFor("x", "*.test")}}, "whole top-level domain"},
		"credential unplaced":      {&Session{Credentials: []Credential{nobody}}, "no position"},
		"credential glob":          {&Session{Credentials: []Credential{badGlob}}, "p:9: glob"},
		"target host":              {host(HostTarget{Host: "*", Rule: "p:9"}), "bad host name"},
		"certificates not read":    {host(HostTarget{Host: "a.test", CAFile: "/ca.pem", Rule: "p:9"}), `p:9: hosts: the certificates of "/ca.pem" were not read`},
		"certificates of no value": {host(HostTarget{Host: "a.test", CA: []byte("x"), Rule: "p:9"}), "no certificate"},
		"certificate not DER":      {host(HostTarget{Host: "a.test", CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), Rule: "p:9"}), "no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Compile(c.session); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v; want %q", err, c.message)
			}
		})
	}
}

func TestCompileKeepsNothingOfTheSession(t *testing.T) {
	s := &Session{
		Credentials: []Credential{credentialFor("x", "a.test")},
		Egress:      []Egress{{Host: "b.test", Port: 443, Protocol: HTTPS, Allow: reads("p:2"), Rule: "p:2", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		Networks:    []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")},
	}
	r := mustCompile(t, s)
	s.Credentials[0].Name, s.Credentials[0].Hosts[0], s.Credentials[0].Allow[0].Method = "y", "evil.test", "PUT"
	s.Credentials[0].Positions[0].Kind = PositionToken
	s.Egress[0].Allow[0], s.Egress[0].Networks[0] = Allow{"DELETE", "*", ""}, netip.MustParsePrefix("127.0.0.0/8")
	s.Networks[0] = netip.MustParsePrefix("127.0.0.0/8")
	names, _ := r.Names()
	names[0] = "evil.test"

	c := r.Connect("a.test", 443)
	if len(c.Credentials) != 1 || c.Credentials[0].Name != "x" || c.Credentials[0].Positions[0].Kind != PositionBearer {
		t.Errorf("%+v", c)
	}
	if v := r.Request(Request{Host: "b.test", Port: 443, Method: "DELETE", Path: "/"}); v.Allow {
		t.Errorf("%+v", v)
	}
	if got := fmt.Sprint(r.Target("b.test", 443).Networks); got != "[172.16.0.0/12 10.0.0.0/8]" {
		t.Error(got)
	}
	if names, _ := r.Names(); names[0] != "a.test" {
		t.Error(names)
	}
}

func TestRulesAreSafeForConcurrentUse(t *testing.T) {
	r := mustCompile(t, &Session{
		Credentials: []Credential{credentialFor("x", "a.test", "*.b.test")},
		Egress:      []Egress{{Address: netip.MustParsePrefix("10.0.0.0/8"), Port: 22, Protocol: TCP}},
		Hosts:       []HostTarget{{Host: "a.test", Connect: "127.0.0.1"}},
	})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				c := r.Connect("q.b.test", 443)
				r.Request(Request{Host: "a.test", Port: 443, Method: "GET", Path: "/%61", Credential: c.Credentials[0]})
				r.Target("a.test", 443)
				r.Address(netip.MustParseAddrPort("10.0.0.1:22"))
				r.Names()
				r.Declared()
			}
		})
	}
	group.Wait()
}

// Whatever a caller forgot: a wildcard admits no name that is not in its one
// spelling, and no request without a path.
func TestRulesOfOddQuestions(t *testing.T) {
	c := credentialFor("x", "*.b.test")
	c.Anonymous = AnonymousRead
	r := mustCompile(t, &Session{Credentials: []Credential{c}})
	for _, host := range []string{"A.b.test", "a.b.test.", "a\x00.b.test", "a b.b.test", "*.b.test", "-.b.test", "..b.test"} {
		if r.Name(host) || r.Connect(host, 443).Allow {
			t.Errorf("%q is allowed", host)
		}
	}
	for path, want := range map[string]int{"/v1": 0, "": 400, "v1": 400, "/a b": 400} {
		if v := r.Request(Request{Host: "a.b.test", Port: 443, Method: "GET", Path: path, Bare: true}); v.Status != want {
			t.Errorf("%q: %+v", path, v)
		}
	}
}

// A host with a root of its own alone is where its name says, by way of the
// network's proxy.
func TestTargetWithAnAuthorityAlone(t *testing.T) {
	r := mustCompile(t, &Session{Credentials: []Credential{credentialFor("x", "a.test")}})
	r.targets["a.test"] = HostTarget{Host: "a.test", CA: []byte("a root")} // Compile wants a real one
	if got := r.Target("a.test", 443); got.Connect != "a.test:443" || got.Near || string(got.CA) != "a root" {
		t.Errorf("%+v", got)
	}
}

func TestDecodingAPlainPathDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _ = loose("/v1/chat/completions") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := mustCompile(t, &Session{Credentials: []Credential{credentialFor("x", "a.test", "*.b.test")}})
	own := r.Connect("a.test", 443).Credentials[0]
	for name, ask := range map[string]func(){
		"name":     func() { r.Name("a.test") },
		"wildcard": func() { r.Name("deep.below.it.b.test") },
		"unknown":  func() { r.Name("c.test") },
		"connect":  func() { r.Connect("q.b.test", 443) },
		"request":  func() { r.Request(Request{Host: "q.b.test", Port: 443, Method: "GET", Path: "/v1/x", Credential: own}) },
		"bare":     func() { r.Request(Request{Host: "q.b.test", Port: 443, Method: "GET", Path: "/v1/x", Bare: true}) },
	} {
		if n := testing.AllocsPerRun(100, ask); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A site is built once for all hosts with the same most specific pattern. This
// says the same host by host, in the words of the documentation.
func TestSitesAgreeWithTheDocumentation(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	labels := []string{"a", "b", "c"}
	host := func(n int) string {
		out := "x.test"
		for range n {
			out = labels[random.IntN(len(labels))] + "." + out
		}
		return out
	}
	pattern := func() string {
		if random.IntN(2) == 0 {
			return "*." + host(random.IntN(3))
		}
		return host(random.IntN(4))
	}
	for round := range 300 {
		s := &Session{}
		for i := range random.IntN(5) {
			c := credentialFor(fmt.Sprint("c", i), pattern(), pattern())
			c.Rule = fmt.Sprint("c", i)
			s.Credentials = append(s.Credentials, c)
		}
		seen := make(map[string]bool)
		for i := range random.IntN(5) {
			e := Egress{Host: pattern(), Port: []uint16{443, 8443}[random.IntN(2)], Protocol: HTTPS, Allow: reads("e"), Foreign: random.IntN(2) == 0, Rule: fmt.Sprint("e", i)}
			if key := fmt.Sprint(e.Host, e.Port); !seen[key] {
				seen[key] = true
				s.Egress = append(s.Egress, e)
			}
		}
		r := mustCompile(t, s)
		for range 50 {
			name, port := host(random.IntN(5)), []uint16{443, 8443}[random.IntN(2)]
			foreign := Request{Host: name, Port: port, Method: "GET", Path: "/", Foreign: true}
			want := expected(s, name, port)
			got := expectation{bare: r.Request(Request{Host: name, Port: port, Method: "GET", Path: "/"}).Allow, foreign: r.Request(foreign).Allow}
			c := r.Connect(name, port)
			got.allow = c.Allow
			for _, cred := range c.Credentials {
				got.credentials |= 1 << (cred.Name[1] - '0')
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(expectation{})); diff != "" {
				t.Fatalf("round %d, %s:%d with %+v:\n%s", round, name, port, s, diff)
			}
		}
	}
}

type expectation struct {
	allow, bare, foreign bool
	credentials          int // bits
}

// expected is the documentation's precedence for https entries, naively.
func expected(s *Session, host string, port uint16) (want expectation) {
	rank := func(pattern string) int {
		if !covers(pattern, host) {
			return 0
		}
		if pattern == host {
			return 1000
		}
		return len(pattern)
	}
	best, bound := 0, 0
	var entry *Egress
	for i := range s.Egress {
		if e := &s.Egress[i]; e.Port == port && rank(e.Host) > best {
			best, entry = rank(e.Host), e
		}
	}
	for i, c := range s.Credentials {
		for _, pattern := range c.Hosts {
			if n := rank(pattern); n > 0 && (port == 443 || entry != nil) {
				bound = max(bound, n)
				want.credentials |= 1 << i
			}
		}
	}
	want.allow = entry != nil || bound > 0
	want.bare = entry != nil && best > bound
	want.foreign = entry != nil && entry.Foreign && best >= bound
	return want
}

func BenchmarkRequest(b *testing.B) {
	c := credentialFor("x", "*.b.test")
	c.Allow = []Allow{{"GET", "*", "p:1"}, {"POST", "/v1/**", "p:2"}}
	r, err := Compile(&Session{Credentials: []Credential{c}})
	if err != nil {
		b.Fatal(err)
	}
	own := r.Connect("a.b.test", 443).Credentials[0]
	b.ReportAllocs()
	for b.Loop() {
		r.Request(Request{Host: "a.b.test", Port: 443, Method: "POST", Path: "/v1/chat/completions", Credential: own})
	}
}
