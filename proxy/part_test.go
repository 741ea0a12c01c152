// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// What a client and an upstream read at the end of a WebSocket that is parted:
// a close frame with status 1012, or 1008, masked towards the upstream.
const (
	restartDown = "\x88\x02\x03\xf4"
	restartUp   = "\x88\x82\x00\x00\x00\x00\x03\xf4"
	refusedDown = "\x88\x02\x03\xf0"
)

// socket is an open WebSocket of the agent's.
type socket struct {
	*tls.Conn
	br *bufio.Reader
}

func openSocket(t *testing.T, r *rig, up *recorder) *socket {
	t.Helper()
	newSwitcher(t, up, switched+"\r\n")
	s := &socket{Conn: r.dialTLS(apiHost, "http/1.1")}
	s.br = bufio.NewReader(s.Conn)
	io.WriteString(s, handshake)
	if resp, err := http.ReadResponse(s.br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	s.echo(t)
	return s
}

// ended waits until the connections to the upstream are closed.
func (r *recorder) ended() {
	r.listener.Close()
	r.wg.Wait()
}

// echo is a message there and back.
func (s *socket) echo(t *testing.T) {
	t.Helper()
	io.WriteString(s, agentFrame("x"))
	got := make([]byte, len(textFrame("x")))
	if _, err := io.ReadFull(s.br, got); err != nil || string(got) != textFrame("x") {
		t.Fatalf("echo %q, %v", got, err)
	}
}

// rest is what comes until the end.
func (s *socket) rest(t *testing.T) string {
	t.Helper()
	text, err := io.ReadAll(s.br)
	if isTimeout(err) {
		t.Fatalf("still open: %v", err)
	}
	return string(text)
}

// A WebSocket lasts for as long as the value of its handshake, and its ends are
// told to come again.
func TestC12WebSocketEndsWithItsCredential(t *testing.T) {
	for name, replace := range map[string]func(*testing.T, *rig){
		"replaced": func(t *testing.T, r *rig) { r.rotate(t, rotated) },
		"removed":  func(_ *testing.T, r *rig) { r.server.group.Revoke([]string{"openai"}) },
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			s := openSocket(t, r, up)
			replace(t, r)
			if got := s.rest(t); got != restartDown {
				t.Errorf("the agent reads %q", got)
			}
			rec := r.sink.last(1)
			if rec.Reason != audit.ReasonReload || rec.Status != 101 {
				t.Errorf("%+v", rec)
			}
			up.ended()
			if seen := up.seen(); !strings.HasSuffix(seen, agentFrame("x")+restartUp) {
				t.Errorf("upstream reads %q", seen)
			}
		})
	}
}

func TestC12WebSocketOutlivesWhatItDidNotCarry(t *testing.T) {
	r, up, _ := newWorld(t)
	s := openSocket(t, r, up)
	r.rotate(t, canary) // fetched again, and the same
	s.echo(t)
	value, err := secret.New([]byte("ghp_another-0123456789012345678901"))
	if err == nil {
		err = r.renew(map[string]Fresh{"github": {Value: value}})
	}
	if err != nil {
		t.Fatal(err)
	}
	s.echo(t)
	r.server.group.Revoke([]string{"github"})
	s.echo(t)
	r.rotate(t, rotated)
	if got := s.rest(t); got != restartDown {
		t.Errorf("the agent reads %q", got)
	}
}

// In the middle of a frame a close frame would be taken for its payload.
func TestC12WebSocketEndsInTheMiddleOfAFrame(t *testing.T) {
	r, up, _ := newWorld(t)
	s := openSocket(t, r, up)
	io.WriteString(s, agentFrame("hello")[:8])
	for !strings.HasSuffix(up.seen(), agentFrame("hello")[:8]) { // the test's own limit bounds it
		runtime.Gosched()
	}
	r.rotate(t, rotated)
	if got := s.rest(t); got != restartDown {
		t.Errorf("the agent reads %q", got)
	}
	up.ended()
	if seen := up.seen(); !strings.HasSuffix(seen, agentFrame("hello")[:8]) {
		t.Errorf("upstream reads %q", seen)
	}
}

// A handshake that is under way while its credential is replaced is answered,
// and ends at once.
func TestC12WebSocketOpenedWithTheOldValue(t *testing.T) {
	world := newAuthority(t)
	arrived, release := make(chan string, 1), make(chan struct{})
	up := newHandlerUpstream(t, world, false, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("Authorization")
		<-release
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, switched+"\r\n")
		io.Copy(io.Discard, rw)
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	s := &socket{Conn: r.dialTLS(apiHost, "http/1.1")}
	s.br = bufio.NewReader(s.Conn)
	io.WriteString(s, handshake)
	if got := <-arrived; got != "Bearer "+canary {
		t.Errorf("upstream saw %q", got)
	}
	r.rotate(t, rotated)
	close(release)
	if resp, err := http.ReadResponse(s.br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	if got := s.rest(t); got != restartDown {
		t.Errorf("the agent reads %q", got)
	}
}

// Rules that refuse it now say so.
func TestO8RefusedWebSocketIsTold(t *testing.T) {
	r, up, plain := newWorld(t)
	s := openSocket(t, r, up)
	session := testSession(up.address(), plain.address())
	session.Credentials[0].Allow = []policy.Allow{{Method: "GET", Glob: "/other", Rule: "test:77"}}
	r.reload(t, session)
	if got := s.rest(t); got != refusedDown {
		t.Errorf("the agent reads %q", got)
	}
	if rec := r.sink.last(1); rec.Reason != audit.ReasonPathNotAllowed {
		t.Errorf("%+v", rec)
	}
}
