// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// sibling is another session of r's group.
func (r *rig) sibling(share *Share) *rig {
	r.t.Helper()
	other := &rig{
		t: r.t, session: r.session, world: r.world, sink: newRecords(), logs: &lockedBuffer{},
		listener: &pairListener{conns: make(chan net.Conn), done: make(chan struct{})},
	}
	var err error
	other.server, err = r.server.group.NewServer(Session{Names: fakeNames{}, Sink: other.sink, Origin: injectedOrigin, Share: share})
	if err != nil {
		r.t.Fatal(err)
	}
	other.begin()
	return other
}

// S1, S5: of two sessions under one policy neither has the other's connections,
// cookies or records.
func TestS5SessionsOfAGroupShareNoConnectionOrCookie(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		first, up, _ := newWorld(t)
		other := first.sibling(nil)
		up.respond = func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nSet-Cookie: sid=42; Path=/; Secure\r\nContent-Length: 0\r\n\r\n"
		}
		ask := func(r *rig, client *http.Client) string {
			header := one("Authorization", "Bearer "+placeholder)
			header["Cookie"] = []string{"sid=42"}
			r.do(client, call{url: "https://" + apiHost + "/", header: header})
			return up.last(t).Header.Get("Cookie")
		}
		client := first.client(h2)
		ask(first, client)
		if got := ask(first, client); got != "sid=42" {
			t.Errorf("the session's own cookie came as %q", got)
		}
		if got := ask(other, other.client(h2)); got != "" {
			t.Errorf("a cookie of the other session passed: %q", got)
		}
		if n := up.connections(); n != 2 {
			t.Errorf("%d connections of two sessions", n)
		}
		if a, b := len(first.sink.wait(2)), len(other.sink.wait(1)); a != 2 || b != 1 {
			t.Errorf("%d and %d records", a, b)
		}
	})
}

// O8, C12: a reload reaches every session of the group, and one that begins
// later, whichever of them asks for it.
func TestO8ReloadReachesEverySessionOfAGroup(t *testing.T) {
	first, up, plain := newWorld(t)
	other := first.sibling(nil)
	sent := func(r *rig) (string, int) {
		resp, _ := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		return up.last(t).Header.Get("Authorization"), resp.StatusCode
	}
	first.rotate(t, rotated)
	for name, r := range map[string]*rig{"one": first, "other": other, "later": first.sibling(nil)} {
		if got, status := sent(r); got != "Bearer "+rotated || status != 200 {
			t.Errorf("%s: %d, upstream got %q", name, status, got)
		}
	}
	tunnel := other.dial(netip.AddrPortFrom(synthetic(tcpHost), 5432))
	session := testSession(up.address(), plain.address())
	session.Egress = session.Egress[:3] // no tcp
	first.reload(t, session)
	if n, err := tunnel.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a tunnel of the other session goes on: %d bytes, %v", n, err)
	}
	up.respond = func(*http.Request) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n" + rotated
	}
	resp, body := other.do(other.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if resp.StatusCode != 200 || body != placeholder {
		t.Errorf("answer with the rotated value: %q", body)
	}
}

// A session that closes takes nothing of the others with it.
func TestSessionOfAGroupEndsAlone(t *testing.T) {
	first, _, _ := newWorld(t)
	other := first.sibling(nil)
	if err := other.server.Close(); err != nil {
		t.Fatal(err)
	}
	resp, _ := first.do(first.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if n := len(first.server.group.servers); n != 1 {
		t.Errorf("the group has %d servers", n)
	}
}

// D11: a session that takes every connection it can get leaves another its part.
func TestD11ShareLeavesEachSessionItsPart(t *testing.T) {
	const more = 3
	share := NewShare(2*partOfOne + more*perConnection)
	first, up, _ := newWorld(t)
	greedy, modest := first.sibling(share), first.sibling(share)
	for range certainConnections + more {
		greedy.dialTLS(apiHost, "http/1.1")
	}
	refused := greedy.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("the greedy session has the other's part")
	}
	if rec := greedy.sink.last(1); rec.Reason != audit.ReasonConnectionLimit {
		t.Errorf("record %+v", rec)
	}
	if n := len(greedy.server.slots.all); n != certainConnections+more {
		t.Errorf("%d of the session's own slots are taken", n)
	}
	if _, err := first.server.group.NewServer(Session{Names: fakeNames{}, Sink: newRecords(), Origin: injectedOrigin, Share: share}); !errors.Is(err, ErrShare) {
		t.Errorf("a session without a part: %v", err)
	}
	for range certainConnections {
		if resp, _ := modest.rawOn(modest.dialTLS(apiHost, "http/1.1"), request(apiHost)); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	up.settled()
	greedy.server.Close()
	modest.server.Close()
	if want := 2*partOfOne + more*perConnection; share.free != want {
		t.Errorf("%d of %d are free after both have ended", share.free, want)
	}
}

// D11: a tunnel takes the descriptors with which the kernel moves its bytes where
// there are some, gives them back, and works without.
func TestD11TunnelsWithAndWithoutPipes(t *testing.T) {
	first, _, _ := newWorld(t)
	plain := newRecorder(t, nil, nil)
	session := testSession("127.0.0.1:1", plain.address())
	share := NewShare(partOfOne + pipesOfTunnel)
	r := newRig(t, session, first.world, nil).sibling(share)
	tunnel := func() *net.TCPConn {
		conn := r.dial(netip.AddrPortFrom(synthetic(tcpHost), 5432))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := r.read(bufio.NewReader(conn)); resp.StatusCode != 200 || body != "ok" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		return conn
	}
	for round := range 2 {
		one, other := tunnel(), tunnel()
		if share.take(1) {
			t.Error("tunnels took no pipes")
		}
		for _, conn := range []*net.TCPConn{one, other} {
			conn.CloseWrite()
			if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
		}
		r.sink.wait(2 * (round + 1))
	}
}

// deaf answers nobody: its queue is full.
func deaf(t *testing.T) (port uint16) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port = uint16(at.(*unix.SockaddrInet4).Port)
	conn, err := net.Dial("tcp4", joinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return port
}

// D11: of a name whose addresses do not answer, all but one of those that are
// tried at once take their part of the share, and give it back.
func TestD11CandidatesTakeTheirShare(t *testing.T) {
	const beside = 2
	d, port, silent := &dialer{share: NewShare(beside)}, deaf(t), netip.MustParseAddr("127.0.0.1")
	g := &guard{allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	free := func() int {
		d.share.mu.Lock()
		defer d.share.mu.Unlock()
		return d.share.free
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := d.race(ctx, g, slices.Repeat([]netip.Addr{silent}, maxCandidates), port)
		ended <- err
	}()
	for free() > 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the dial ended with %v", err)
	}
	if n := free(); n != beside {
		t.Errorf("%d of %d are free", n, beside)
	}
	answering := netip.MustParseAddr("127.0.0.2")
	l, err := net.Listen("tcp4", netip.AddrPortFrom(answering, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := d.race(t.Context(), g, []netip.Addr{silent, answering}, port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for free() < beside { // the other is closed behind it
		runtime.Gosched()
	}
}

// D11: connections to upstreams that are idle make room for one that is needed;
// those that are in use do not.
func TestD11IdleUpstreamsMakeRoom(t *testing.T) {
	first, up, _ := newWorld(t)
	r := first.sibling(NewShare(partOfOne))
	r.server.slots.room.certain = 16 // the agent's are not the subject
	arrived, release := make(chan struct{}), make(chan struct{})
	up.respond = func(req *http.Request) string {
		if req.URL.Path == "/held" {
			arrived <- struct{}{}
			<-release
		}
		return okAnswer
	}
	ask := func(host, path, key string) int {
		resp, _ := r.raw(host, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n"+key+"Connection: close\r\n\r\n")
		return resp.StatusCode
	}
	statuses := make(chan int, certainUpstream)
	hold := func() {
		go func() { statuses <- ask(apiHost, "/held", auth) }()
		select {
		case <-arrived:
		case got := <-statuses:
			t.Fatalf("a request that is to be held: %d", got)
		}
	}
	for range certainUpstream - 1 {
		hold()
	}
	if got := ask(openHost, "/", ""); got != 200 { // and leaves the last one idle
		t.Errorf("status %d", got)
	}
	for kept := 0; kept == 0; runtime.Gosched() { // the answer is there before that
		idle := r.server.current.Load().upstream.common
		idle.mu.Lock()
		kept = idle.count()
		idle.mu.Unlock()
	}
	hold()
	close(release)
	for range certainUpstream {
		if got := <-statuses; got != 200 {
			t.Errorf("held: %d", got)
		}
	}
}

// A drained session finishes what is under way and begins nothing.
func TestO6DrainFinishesRequests(t *testing.T) {
	var arrived, release chan struct{}
	legs(t, func(*testing.T) http.HandlerFunc {
		arrived, release = make(chan struct{}, 1), make(chan struct{})
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				w.(http.Flusher).Flush()
				arrived <- struct{}{}
				<-release
			}
			io.WriteString(w, "whole")
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		idle := r.dialTLS(apiHost, "http/1.1")
		if status, body := askOver(t, idle); status != "200 OK" || body != "whole" {
			t.Errorf("%s, %q", status, body)
		}
		r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		answer := make(chan string, 1)
		go func() {
			resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/slow", nil))
			if err != nil {
				answer <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			answer <- string(body) + errText(err)
		}()
		<-arrived
		drained := make(chan error, 1)
		go func() { drained <- r.server.Drain(t.Context()) }()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("an idle connection ended with %v", err)
		}
		idle.Close()
		if _, err := r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)).Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("a connection that began while draining: %v", err)
		}
		select {
		case err := <-drained:
			t.Errorf("drained with a request under way: %v", err)
		default:
		}
		close(release)
		if got := <-answer; got != "whole" {
			t.Errorf("answer %q", got)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// At the end of a session the heap of all is collected only where values ended
// with it.
func TestEndOfASessionCollects(t *testing.T) {
	first, _, _ := newWorld(t)
	collects := func(held ...*heldValue) bool {
		r := first.sibling(nil)
		r.do(r.client(false), call{url: "https://" + apiHost + "/", header: asHolder})
		r.server.vault.held = held
		if err := r.server.Close(); err != nil {
			t.Fatal(err)
		}
		f := &r.server.group.forgetter
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.timer != nil
	}
	if collects() {
		t.Error("a session without a value of its own")
	}
	if !collects(&heldValue{Credential: swap.Credential{Value: new(secret.Cell)}}) {
		t.Error("a session with one")
	}
}
