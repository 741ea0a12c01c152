// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

// newHandlerUpstream is a net/http upstream, with h2 when asked.
func newHandlerUpstream(t testing.TB, world *ca.Authority, h2 bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = h2
	s.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return world.Leaf(hello.ServerName)
	}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	// httptest puts its own certificate first.
	s.TLS.Certificates = nil
	t.Cleanup(s.Close)
	return s
}

// legs runs a test for every pair of protocols on the two legs.
func legs(t *testing.T, handler func(t *testing.T) http.HandlerFunc, test func(t *testing.T, r *rig, client *http.Client)) {
	for _, name := range []string{"h1-h1", "h1-h2", "h2-h1", "h2-h2"} {
		t.Run(name, func(t *testing.T) {
			world := newAuthority(t)
			up := newHandlerUpstream(t, world, strings.HasSuffix(name, "h2"), handler(t))
			at := up.Listener.Addr().String()
			r := newRig(t, testSession(at, at), world, nil)
			test(t, r, r.client(strings.HasPrefix(name, "h2")))
		})
	}
}

func authorized(ctx context.Context, t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+placeholder)
	return req
}

// TestEvents: each event reaches the agent before the next is made, over every
// pair of protocols.
func TestEvents(t *testing.T) {
	next := make(chan struct{})
	legs(t, func(t *testing.T) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for range 3 {
				<-next
				io.WriteString(w, "data: x\n\n")
				w.(http.Flusher).Flush()
			}
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		resp, err := client.Do(authorized(t.Context(), t, "POST", "https://"+apiHost+"/", strings.NewReader("{}")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		br := bufio.NewReader(resp.Body)
		for range 3 {
			next <- struct{}{}
			if line, err := br.ReadString('\n'); line != "data: x\n" {
				t.Fatalf("%q, %v", line, err)
			}
			br.ReadString('\n')
		}
		if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

// TestDuplex: request and answer stream at the same time, as gRPC needs, with
// trailers at the end.
func TestDuplex(t *testing.T) {
	legs(t, func(t *testing.T) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			br := bufio.NewReader(r.Body)
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					break
				}
				io.WriteString(w, "echo "+line)
				w.(http.Flusher).Flush()
			}
			w.Header().Set("Grpc-Status", "0")
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		pr, pw := io.Pipe()
		answer := make(chan *http.Response, 1)
		go func() {
			resp, err := client.Do(authorized(t.Context(), t, "POST", "https://"+apiHost+"/", pr))
			if err != nil {
				t.Error(err)
			}
			answer <- resp
		}()
		io.WriteString(pw, "one\n")
		resp := <-answer
		if resp == nil {
			return
		}
		defer resp.Body.Close()
		br := bufio.NewReader(resp.Body)
		for i, word := range []string{"one", "two", "three"} {
			if i > 0 {
				io.WriteString(pw, word+"\n")
			}
			if line, err := br.ReadString('\n'); line != "echo "+word+"\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
			t.Errorf("trailer %q in %v", got, resp.Trailer)
		}
	})
}

// TestBodies: bodies of odd sizes come through whole, both ways, and are
// counted.
func TestBodies(t *testing.T) {
	legs(t, func(t *testing.T) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("upstream: %v", err)
			}
			w.Write(body)
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		for n, size := range []int{1, 4095, 4096, 65536, 65537, 3 << 20} {
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			for m, reader := range []io.Reader{bytes.NewReader(body), struct{ io.Reader }{bytes.NewReader(body)}} {
				resp, err := client.Do(authorized(t.Context(), t, "POST", "https://"+apiHost+"/", reader))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("size %d: %d bytes back, %v", size, len(got), err)
				}
				if rec := r.sink.last(2*n + m + 1); rec.BytesIn != uint64(size) || rec.BytesOut != uint64(size) {
					t.Errorf("size %d: record %+v", size, rec)
				}
			}
		}
	})
}

// TestContinue: a client that holds its body back is asked for it only when
// upstream wants it.
func TestContinue(t *testing.T) {
	r, up, _ := newWorld(t)
	ask := "POST / HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, ask)
	br := bufio.NewReader(conn)
	if line, err := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	br.ReadString('\n')
	io.WriteString(conn, "body")
	if resp, body := r.read(br); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if body, _ := io.ReadAll(up.last(t).Body); string(body) != "body" {
		t.Errorf("upstream got %q", body)
	}
	// Refused at once: no 100, and the end of the connection, since nobody
	// knows whether the body comes.
	conn = r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, strings.Replace(ask, auth, "", 1))
	if resp, _ := r.read(bufio.NewReader(conn)); resp.StatusCode != 401 || !resp.Close {
		t.Errorf("%d, close %t", resp.StatusCode, resp.Close)
	}
}

// TestEarlyRefusal: a refusal does not wait for the body, and a small body
// does not cost the connection.
func TestEarlyRefusal(t *testing.T) {
	r, up, _ := newWorld(t)
	conn := r.dialTLS(apiHost, "http/1.1")
	br := bufio.NewReader(conn)
	head := "POST / HTTP/1.1\r\nHost: " + apiHost + "\r\nContent-Length: "
	io.WriteString(conn, head+"5\r\n\r\n")
	if resp, _ := r.read(br); resp.StatusCode != 401 || resp.Close {
		t.Fatalf("%d, close %t", resp.StatusCode, resp.Close)
	}
	io.WriteString(conn, "GET /"+head+"99999999\r\n\r\n")
	if resp, _ := r.read(br); resp.StatusCode != 401 || !resp.Close {
		t.Fatalf("%d, close %t", resp.StatusCode, resp.Close)
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 || up.connections() != 0 {
		t.Errorf("%q, upstream saw %s", rest, up.seen())
	}
}

// TestClientLeaves: an agent that goes away ends its request upstream.
func TestClientLeaves(t *testing.T) {
	arrived, ended := make(chan struct{}), make(chan struct{})
	legs(t, func(t *testing.T) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.ReadAll(r.Body)
			arrived <- struct{}{}
			<-r.Context().Done()
			ended <- struct{}{}
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		resp, err := client.Do(authorized(ctx, t, "POST", "https://"+apiHost+"/", strings.NewReader("{}")))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", resp, err)
		}
		<-ended
		if rec := r.sink.last(1); rec.Reason != audit.ReasonTimeout && rec.Reason != audit.ReasonAllowed {
			t.Errorf("record %+v", rec)
		}
	})
}

// TestStaleConnection: an upstream that closes idle connections costs the agent
// no error, also for a request with a body.
func TestStaleConnection(t *testing.T) {
	r, up, _ := newWorld(t)
	client := r.client(false)
	for i := range 5 {
		up.mu.Lock()
		for _, c := range up.open {
			c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		up.mu.Unlock()
		resp, body := r.do(client, call{method: "PUT", url: "https://" + apiHost + "/", body: "again",
			header: http.Header{"Authorization": {"Bearer " + placeholder}, "Idempotency-Key": {"1"}}})
		if resp.StatusCode != 200 {
			t.Errorf("request %d: %d %s", i, resp.StatusCode, body)
		}
		if got, _ := io.ReadAll(up.last(t).Body); string(got) != "again" {
			t.Errorf("request %d: upstream got %q", i, got)
		}
	}
}
