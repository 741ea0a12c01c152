// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"errors"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const (
	oneKey   = "one-real-0123456789abcdefABCDEFghijkl"
	otherKey = "two-real-zyxwvutsrqponmlkjihgfedcba98"
)

// S1, S2, S5, C2: of the sessions of one process each has its own policy's
// credential, and none has another's placeholder, connection, cookie or record.
func TestS1SessionsOfAPoolAreApart(t *testing.T) {
	r := newPoolRig(t)
	one, other := r.add("one", oneKey, PolicyFacts{}), r.add("other", otherKey, PolicyFacts{})
	if bytes.Equal(one.CA, other.CA) || one.Placeholders["key"] == other.Placeholders["key"] {
		t.Fatal("two policies have the same authority or placeholder")
	}
	if len(one.Placeholders["key"]) != len(oneKey) || strings.Contains(one.Placeholders["key"], oneKey[:8]) {
		t.Errorf("placeholder %q", one.Placeholders["key"])
	}
	a, b, c := r.start("a", "one", one), r.start("b", "one", one), r.start("c", "other", other)
	for _, test := range []struct {
		s      *poolSession
		real   string
		status int
		facts  PolicyFacts
	}{{a, oneKey, 200, one}, {b, oneKey, 200, one}, {c, otherKey, 200, other}, {a, "", 403, other}, {c, "", 403, one}} {
		status, body, err := test.s.ask(test.facts.Placeholders["key"], "Cookie: sid=42")
		if err != nil || status != test.status {
			t.Fatalf("session %s: %d, %v", test.s.id, status, err)
		}
		if strings.Contains(body, oneKey) || strings.Contains(body, otherKey) {
			t.Errorf("session %s reads a real key: %q", test.s.id, body)
		}
		if test.real == "" {
			continue
		}
		if got := r.last().Header.Get("Authorization"); got != "Bearer "+test.real {
			t.Errorf("session %s: the upstream got %q", test.s.id, got)
		}
		if got := r.last().Header.Get("Cookie"); got != "" {
			t.Errorf("session %s: cookie %q of another session", test.s.id, got)
		}
	}
	if len(r.conns) != 3 {
		t.Errorf("%d connections of three sessions to the upstream", len(r.conns))
	}
	for session, verdicts := range map[string][]audit.Verdict{
		"a": {audit.Allow, audit.Deny}, "b": {audit.Allow}, "c": {audit.Allow, audit.Deny},
	} {
		var got []audit.Verdict
		for _, record := range r.recordsOf(session, len(verdicts)) {
			got = append(got, record.Verdict)
		}
		if slices.Sort(got); !slices.Equal(got, verdicts) {
			t.Errorf("session %s has records of %q", session, got)
		}
	}
	wrong := *a
	wrong.facts = other
	if _, _, err := wrong.ask(oneKey); err == nil {
		t.Error("the authority of one policy is good in a session of another")
	}
}

// What containers hold of a policy is the same after a restart, and another on
// another node.
func TestPolicyIsTheSameAfterARestart(t *testing.T) {
	first := newPoolRig(t).add("one", oneKey, PolicyFacts{})
	again := newPoolRig(t).add("one", oneKey, first)
	if !bytes.Equal(first.CA, again.CA) || !maps.Equal(first.Placeholders, again.Placeholders) {
		t.Error("with the facts of before, a restart changes authority or placeholders")
	}
	longer := newPoolRig(t).add("one", oneKey+"MORE", first)
	if !maps.Equal(first.Placeholders, longer.Placeholders) {
		t.Error("a value of another length changes what containers hold")
	}
	r := newPoolRig(t)
	lost := r.add("one", oneKey, PolicyFacts{})
	if !maps.Equal(first.Placeholders, lost.Placeholders) {
		t.Error("without the facts of before, a restart changes placeholders")
	}
	// The certificate is another, of the same key: who trusts the old one trusts
	// what the new one signs.
	s := r.start("a", "one", first)
	if status, _, err := s.ask(first.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("trusting the certificate of before: %d, %v", status, err)
	}
	elsewhere := newPoolRig(t)
	elsewhere.pool.config.Seed = bytes.Repeat([]byte("x"), seedSize)
	if facts := elsewhere.add("one", oneKey, PolicyFacts{}); facts.Placeholders["key"] == first.Placeholders["key"] {
		t.Error("two nodes have the same placeholder")
	}
	if facts := elsewhere.add("two", oneKey, PolicyFacts{}); facts.Placeholders["key"] == elsewhere.pool.policies["one"].placeholders["key"] {
		t.Error("two policies have the same placeholder")
	}
}

// C12, O8: a reload reaches all sessions of its policy and no other's, with
// connections that are open; what it adds is there for who begins later.
func TestO8ReloadOfAPoolsPolicy(t *testing.T) {
	r := newPoolRig(t)
	one, other := r.add("one", oneKey, PolicyFacts{}), r.add("other", otherKey, PolicyFacts{})
	a, b, c := r.start("a", "one", one), r.start("b", "one", one), r.start("c", "other", other)
	r.write("one.key", "new-real-0123456789abcdefABCDEFghijkl")
	r.write("second.key", "second-real-0123456789abcdefABCDEFghijkl")
	wider := r.policyFile("one", "egress:\n  - host: added.example.test\n")
	wider.Credentials = append(wider.Credentials, policy.Declared{
		Name: "second", From: "file:" + r.dir + "/second.key", Env: []string{"SECOND"}, Hosts: []string{"added.example.test"}, Rule: "one.yaml:9",
	})
	if got := a.lookup("added.example.test"); got != "NXDOMAIN" {
		t.Fatalf("before: %s", got)
	}
	facts, err := r.pool.ReloadPolicy(t.Context(), "one", wider)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Placeholders["key"] != one.Placeholders["key"] || facts.Placeholders["second"] == "" {
		t.Errorf("placeholders %q", facts.Placeholders)
	}
	for _, s := range []*poolSession{a, b} {
		status, body, err := s.ask(one.Placeholders["key"])
		if err != nil || status != 200 || body != "got Bearer "+one.Placeholders["key"] {
			t.Errorf("session %s: %d %q, %v", s.id, status, body, err)
		}
		if got := r.last().Header.Get("Authorization"); got != "Bearer new-real-0123456789abcdefABCDEFghijkl" {
			t.Errorf("session %s: the upstream got %q", s.id, got)
		}
		if got := s.lookup("added.example.test"); got != "198.18.0.2" {
			t.Errorf("session %s: the added host is %s", s.id, got)
		}
	}
	if got := c.lookup("added.example.test"); got != "NXDOMAIN" {
		t.Errorf("the other policy has the host, too: %s", got)
	}
	open, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.askOn(open, one.Placeholders["key"]); err != nil {
		t.Fatal(err)
	}
	narrow := r.policyFile("one", "")
	narrow.Credentials[0].Hosts = []string{"elsewhere.example.test"}
	if _, err := r.pool.ReloadPolicy(t.Context(), "one", narrow); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.askOn(open, one.Placeholders["key"]); err == nil {
		t.Error("an open connection outlives the rule that allowed it")
	}
	if status, _, err := c.ask(other.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("the other policy: %d, %v", status, err)
	}
	settled := r.policyFile("one", "forward: [\"127.0.0.1:5432\"]\n")
	if _, err := r.pool.ReloadPolicy(t.Context(), "one", settled); !errors.Is(err, ErrNotReloaded) {
		t.Errorf("a port that listeners would have to be born for: %v", err)
	}
}

// O8: who waits for a reload goes on with what it leaves, and does not bring back
// what it has tightened.
func TestO8WaitingRenewalKeepsAReload(t *testing.T) {
	r := newPoolRig(t)
	r.add("one", oneKey, PolicyFacts{})
	s := r.pool.policies["one"]
	narrow := r.policyFile("one", "")
	narrow.Credentials[0].Hosts = []string{"elsewhere.example.test"}
	for range 20 { // how far the other gets is for the scheduler to say
		wide, begun, done := s.config.Policy, make(chan struct{}), make(chan error)
		s.renewing.Lock()
		go func() {
			close(begun)
			done <- s.Stored(nil)
		}()
		<-begun
		runtime.Gosched()
		s.config.Policy = narrow
		s.renewing.Unlock()
		if err := <-done; err != nil || s.config.Policy != narrow {
			t.Fatalf("the reload is undone; %v", err)
		}
		s.config.Policy = wide
	}
}

// A session that is removed ends with its connections, and alone; a policy goes
// when no session has it.
func TestRemovedSessionEnds(t *testing.T) {
	r := newPoolRig(t)
	one := r.add("one", oneKey, PolicyFacts{})
	a, b := r.start("a", "one", one), r.start("b", "one", one)
	open, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.pool.AddSession(SessionConfig{ID: "a", Policy: "one", Listeners: loopbackListeners(t)}); err == nil {
		t.Error("one id, two sessions")
	}
	if err := r.pool.RemovePolicy("one"); err == nil {
		t.Error("a policy went that sessions have")
	}
	for range 2 { // the second time there is none
		if err := r.pool.RemoveSession("a"); err != nil {
			t.Error(err)
		}
	}
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its session")
	}
	if _, err := net.Dial("tcp", a.tcp); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dialling the session that is gone: %v", err)
	}
	if status, _, err := b.ask(one.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("the other session: %d, %v", status, err)
	}
	if err := r.pool.RemoveSession("b"); err != nil {
		t.Error(err)
	}
	if err := r.pool.RemovePolicy("one"); err != nil {
		t.Error(err)
	}
	if err := r.pool.AddSession(SessionConfig{ID: "a", Policy: "one", Listeners: loopbackListeners(t)}); err == nil {
		t.Error("a session under a policy that is gone")
	}
	select {
	case id := <-r.ended:
		t.Errorf("session %s is told to have ended by a fault", id)
	default:
	}
	r.add("one", oneKey, one)
}

// A session whose listener fails is told of and served no more; the others go on.
func TestBrokenSessionIsTold(t *testing.T) {
	r := newPoolRig(t)
	one := r.add("one", oneKey, PolicyFacts{})
	b := r.start("b", "one", one)
	l := loopbackListeners(t)
	if err := r.pool.AddSession(SessionConfig{ID: "a", Policy: "one", Listeners: l, Own4: netip.MustParseAddr("198.18.255.1")}); err != nil {
		t.Fatal(err)
	}
	fd, err := Descriptor(l.TCP6)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if id := <-r.ended; id != "a" {
		t.Errorf("%s ended", id)
	}
	l.Close()
	if status, _, err := b.ask(one.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("the other session: %d, %v", status, err)
	}
	r.start("a", "one", one) // the id is free again
}

// O10: who removes a session has its last record by then, however slowly records
// are taken.
func TestO10RemovedSessionHasItsLastRecord(t *testing.T) {
	r := newPoolRig(t)
	one := r.add("one", oneKey, PolicyFacts{})
	a := r.start("a", "one", one)
	idle, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()                                         // no record is taken
	if _, _, err := a.askOn(idle, oneKey); err != nil { // refused, and recorded
		t.Fatal(err)
	}
	go func() {
		idle.Read(make([]byte, 1)) // the session ends
		r.mu.Unlock()
	}()
	if err := r.pool.RemoveSession("a"); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.records) != 1 || r.records[0].Session != "a" {
		t.Errorf("records %+v", r.records)
	}
}

// O6: what is under way is finished, and nothing begins.
func TestO6DrainedPoolServesNobody(t *testing.T) {
	r := newPoolRig(t)
	one := r.add("one", oneKey, PolicyFacts{})
	a, b := r.start("a", "one", one), r.start("b", "one", one)
	idle, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.askOn(idle, one.Placeholders["key"]); err != nil {
		t.Fatal(err)
	}
	go func() { // as any client does
		idle.Read(make([]byte, 1))
		idle.Close()
	}()
	if err := r.pool.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	for _, s := range []*poolSession{a, b} {
		if _, err := net.Dial("tcp", s.tcp); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("session %s after the drain: %v", s.id, err)
		}
	}
	if err := r.pool.Close(); err != nil {
		t.Error(err)
	}
	<-r.pool.Exited()
	if _, err := r.pool.AddPolicy(t.Context(), "late", r.policyFile("one", ""), PolicyFacts{}); err == nil {
		t.Error("a pool that is closed took a policy")
	}
}

// O3, O4: a policy that cannot be served is not added, and does not keep its
// name from the next try.
func TestO4PoolRefusesPolicies(t *testing.T) {
	r := newPoolRig(t)
	r.write("one.key", oneKey)
	for name, test := range map[string]struct{ more, from, want string }{
		"filesystem":     {more: "filesystem: {home: overlay}\n", want: "one.yaml:9: filesystem: not in the policy of a node"},
		"publish":        {more: "publish: [\"127.0.0.1:3000:3000\"]\n", want: "one.yaml:9: publish: not"},
		"permit":         {more: "permit: [ptrace]\n", want: "one.yaml:9: permit: not"},
		"strict":         {more: "strict: {key_at_rest: refuse}\n", want: "one.yaml:9: strict: not"},
		"profile":        {more: "profile: claude\n", want: "one.yaml:9: profile: not"},
		"source":         {from: "exec:/bin/true", want: "exec: is a user's source"},
		"environment":    {from: "env:HOME", want: "env: is a user's source"},
		"missing source": {from: "file:" + r.dir + "/none", want: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := r.policyFile("one", test.more)
			if test.from != "" {
				f.Credentials[0].From = test.from
			}
			if _, err := r.pool.AddPolicy(t.Context(), "one", f, PolicyFacts{}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	r.add("one", oneKey, PolicyFacts{})
	if _, err := r.pool.AddPolicy(t.Context(), "one", r.policyFile("one", ""), PolicyFacts{}); !errors.Is(err, ErrPolicyThere) {
		t.Errorf("a second policy of the name: %v", err)
	}
	if _, err := StartPool(t.Context(), PoolConfig{Seed: []byte("short")}); !errors.Is(err, ErrSeed) {
		t.Errorf("a short seed: %v", err)
	}
}

// A login would have to be refreshed and stored for somebody.
func TestLoginOnNodeIsRefused(t *testing.T) {
	login := `{"access":"` + strings.Repeat("a", 40) + `","refresh":"` + strings.Repeat("r", 40) + `","expires":"2099-01-01T00:00:00Z"}`
	value, err := secret.New([]byte(login))
	if err != nil {
		t.Fatal(err)
	}
	var provider string
	for _, p := range policy.Providers() {
		if policy.LoginOf(p.Name) != nil {
			provider = p.Name
		}
	}
	p := &policyStage{spec: policySpec{Node: &nodeSpec{Seed: make([]byte, seedSize)}}}
	if _, err := p.makeCredential(&policy.Credential{Name: "login", Provider: provider, Source: "store:login"}, value); !errors.Is(err, ErrLoginOnNode) {
		t.Errorf("a login of %q: %v", provider, err)
	}
}
