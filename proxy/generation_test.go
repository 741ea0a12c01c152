// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

const rotated = "sk-rotated-ABCDEFGHIJKLMNOPQRSTUVWX"

// rotate gives the openai credential another value.
func (r *rig) rotate(t *testing.T, text string) {
	t.Helper()
	value, err := secret.New([]byte(text))
	if err == nil {
		err = r.renew(map[string]Fresh{"openai": {Value: value}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// renew is a reload of the policy as it is, with fresh values.
func (r *rig) renew(fresh map[string]Fresh) error {
	g := r.server.group
	return g.Reload(g.rules, g.credentials, fresh)
}

// reload makes session's rules the server's, with the values as they are.
func (r *rig) reload(t *testing.T, session *policy.Session) {
	t.Helper()
	var credentials []swap.Credential
	for _, c := range r.server.current.Load().credentials.Load().Credentials() {
		for i := range session.Credentials {
			if session.Credentials[i].Name == c.Policy.Name {
				c.Policy = &session.Credentials[i]
				credentials = append(credentials, c)
			}
		}
	}
	rules, err := policy.Compile(session)
	if err == nil {
		err = r.server.group.Reload(rules, swap.New(credentials), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keys collects what upstream saw as the credential.
type keys struct {
	mu   sync.Mutex
	list []string
}

func (k *keys) add(r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

// The request under way finishes with the old value, the next has the new one,
// and no connection that carried the old one is left.
func TestC12RotatedCredentialIsUsedAtOnce(t *testing.T) {
	var seen keys
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	legs(t, func(t *testing.T) http.HandlerFunc {
		release = make(chan struct{})
		seen = keys{}
		return func(w http.ResponseWriter, r *http.Request) {
			seen.add(r)
			if r.URL.Path == "/slow" {
				w.(http.Flusher).Flush()
				arrived <- struct{}{}
				<-release
			}
			io.WriteString(w, "sent "+r.Header.Get("Authorization"))
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		slow := make(chan string, 1)
		go func() {
			resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/slow", nil))
			if err != nil {
				slow <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			slow <- string(body) + errText(err)
		}()
		<-arrived
		old := r.server.current.Load().upstream
		r.rotate(t, rotated)
		for range 3 {
			_, body := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if want := "sent Bearer " + placeholder; body != want {
				t.Errorf("answer %q, want %q", body, want)
			}
		}
		close(release)
		if got, want := <-slow, "sent Bearer "+placeholder; got != want {
			t.Errorf("the request under way: %q, want %q", got, want)
		}
		r.sink.wait(4)
		if got, want := strings.Join(seen.list, " "), strings.Join([]string{canary, rotated, rotated, rotated}, " "); got != want {
			t.Errorf("upstream saw %s, want %s", got, want)
		}
		old.opening.Lock()
		defer old.opening.Unlock()
		if len(old.open) != 0 || old.users.Load() != 0 {
			t.Errorf("%d connections of before are open, for %d requests", len(old.open), old.users.Load())
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return " " + err.Error()
}

// A revoked credential is not sent any more; its requests are told so.
func TestRevokedCredentialIsNotSent(t *testing.T) {
	r, up, _ := newWorld(t)
	for _, c := range r.server.current.Load().credentials.Load().Credentials() {
		c.Value.Wipe()
	}
	if resp, _ := r.raw(apiHost, request(apiHost)); resp.StatusCode != 502 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if rec := r.sink.last(1); rec.Reason != audit.ReasonCredentialUnavailable || up.connections() != 0 {
		t.Errorf("%+v, %d connections", rec, up.connections())
	}
}

// A value that cannot be taken leaves everything as it was.
func TestReloadIsWholeOrNotAtAll(t *testing.T) {
	r, up, _ := newWorld(t)
	good, err := secret.New([]byte(rotated))
	if err != nil {
		t.Fatal(err)
	}
	defer good.Wipe()
	if err := r.renew(map[string]Fresh{"openai": {Value: good}, "nobody": {Value: good}}); err == nil {
		t.Error("a credential that the session does not have was rotated")
	}
	if resp, _ := r.raw(apiHost, request(apiHost)); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if got := up.last(t).Header.Get("Authorization"); got != "Bearer "+canary {
		t.Errorf("upstream saw %q", got)
	}
}

// held is one open connection of each kind, to a host that the rules then
// refuse, and one that they go on to allow.
func TestO8ReloadEndsWhatIsNoLongerAllowed(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *rig, *recorder, *recorder) io.Reader{
		"websocket":   openWebSocket,
		"passthrough": openPassthrough,
		"tcp":         openTCP,
		"idle":        openIdle,
		"long body":   openBody,
	} {
		for _, tightened := range []bool{false, true} {
			verb := map[bool]string{false: "kept", true: "ended"}[tightened]
			t.Run(name+"/"+verb, func(t *testing.T) {
				r, up, plain := newWorld(t)
				conn := open(t, r, up, plain)
				session := testSession(up.address(), plain.address())
				if tightened {
					session.Egress, session.Credentials = nil, nil
				}
				r.reload(t, session)
				ended := make(chan error, 1)
				go func() {
					_, err := io.ReadAll(conn) // of a WebSocket there is a close frame
					if err == nil {
						err = io.EOF
					}
					ended <- err
				}()
				if tightened {
					if err := <-ended; isTimeout(err) {
						t.Errorf("read: %v", err)
					}
					return
				}
				select {
				case err := <-ended:
					t.Errorf("ended: %v", err)
				default:
				}
			})
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func openWebSocket(t *testing.T, r *rig, up, _ *recorder) io.Reader {
	newSwitcher(t, up, switched+"\r\n")
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, handshake+agentFrame("x"))
	br := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	if _, err := io.ReadFull(br, make([]byte, len(textFrame("x")))); err != nil {
		t.Fatal(err)
	}
	return br
}

func openPassthrough(t *testing.T, r *rig, up, _ *recorder) io.Reader {
	conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(passHost), 443)), &tls.Config{ServerName: passHost, RootCAs: pool(r.world)})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

func openTCP(t *testing.T, r *rig, _, plain *recorder) io.Reader {
	conn := r.dial(netip.AddrPortFrom(synthetic(tcpHost), 5432))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := r.read(bufio.NewReaderSize(conn, 16)); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	return conn
}

func openIdle(t *testing.T, r *rig, up, _ *recorder) io.Reader {
	conn := r.dialTLS(openHost, "http/1.1")
	if resp, _ := r.rawOn(conn, "GET / HTTP/1.1\r\nHost: "+openHost+"\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	r.sink.wait(1)
	return conn
}

// openBody is an answer whose end is yet to come.
func openBody(t *testing.T, r *rig, up, _ *recorder) io.Reader {
	up.respond = func(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun" }
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, request(apiHost))
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err == nil {
		_, err = io.ReadFull(resp.Body, make([]byte, len("begun")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return br
}

// Streams of one h2 connection are told apart: the one to a path that the new
// rules refuse ends, the other goes on.
func TestO8ReloadEndsOneStreamOfTwo(t *testing.T) {
	world := newAuthority(t)
	release := make(chan struct{})
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "end")
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	client := r.client(true)
	begin := func(path string) *http.Response {
		resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	kept, cut := begin("/kept"), begin("/cut")
	session := testSession(at, at)
	session.Credentials[0].Allow = []policy.Allow{{Method: "GET", Glob: "/kept", Rule: "test:77"}}
	r.reload(t, session)
	if body, err := io.ReadAll(cut.Body); err == nil {
		t.Errorf("the stream ended in order, with %q", body)
	}
	close(release)
	if body, err := io.ReadAll(kept.Body); err != nil || string(body) != "end" {
		t.Errorf("%q, %v", body, err)
	}
	for _, rec := range r.sink.wait(2) {
		if want := map[string]audit.Reason{"/kept": audit.ReasonAllowed, "/cut": audit.ReasonPathNotAllowed}[rec.Path]; rec.Reason != want {
			t.Errorf("%s: %s", rec.Path, rec.Reason)
		}
	}
}

// A host that had a credential may know it: its answers are searched for as
// long as the session lasts.
func TestO8UnboundHostIsStillSearched(t *testing.T) {
	r, up, plain := newWorld(t)
	up.respond = func(*http.Request) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n" + canary
	}
	session := testSession(up.address(), plain.address())
	session.Credentials = session.Credentials[1:]
	session.Egress = append(session.Egress, policy.Egress{Host: apiHost, Port: 443, Protocol: policy.HTTPS, Rule: "test:88",
		Allow: []policy.Allow{{Method: "GET", Glob: "*", Rule: "test:88"}}})
	r.reload(t, session)
	resp, body := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n")
	if resp.StatusCode != 200 || body != placeholder {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// While the rules change back and forth, each request is judged by some of
// them, whole: it reaches upstream with the credential or it is refused.
func TestO8ReloadUnderLoad(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+canary && got != "Bearer "+rotated {
			t.Errorf("upstream saw %q", got)
		}
		io.WriteString(w, "ok")
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	wide, narrow := testSession(at, at), testSession(at, at)
	narrow.Credentials[0].Allow = nil
	stop := make(chan struct{})
	var users sync.WaitGroup
	for i := range 4 {
		client := r.client(i%2 == 0)
		users.Go(func() {
			for served := 0; ; {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/", nil))
				if err != nil {
					continue // ended in the middle
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode == 200 && string(body) == "ok" {
					served++
				} else if err == nil && resp.StatusCode != 403 {
					t.Errorf("status %d, %q", resp.StatusCode, body)
				}
			}
		})
	}
	for i := range 60 {
		r.reload(t, []*policy.Session{narrow, wide}[i%2])
		r.rotate(t, []string{canary, rotated}[i%2])
		resp, _ := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		if want := []int{403, 200}[i%2]; resp.StatusCode != want {
			t.Errorf("after reload %d: status %d, want %d", i, resp.StatusCode, want)
		}
	}
	close(stop)
	users.Wait()
	// The agent has an answer before the request has left: one that never does
	// runs into the test's own limit.
	for r.server.current.Load().upstream.users.Load() != 0 {
		runtime.Gosched()
	}
}
