// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// TestH5TrailersBesideALength: an upstream that states a length and sends
// trailers all the same, as only h2 can: the agent gets both, over HTTP/1.1 in
// chunks.
func TestH5TrailersBesideALength(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		world := newAuthority(t)
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4")
			w.Header().Set("Trailer", "X-Sum, X-Key")
			io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
			w.Header().Set("X-Key", canary)
		})
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		if resp.StatusCode != 200 || body != "body" || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Key") != placeholder {
			t.Errorf("%d %q, trailers %v", resp.StatusCode, body, resp.Trailer)
		}
	})
}

// TestC3DisguisedFraming: fields that servers which take "_" for "-" would read
// as those that frame or route the request.
func TestC3DisguisedFraming(t *testing.T) {
	r, up, _ := newWorld(t)
	for _, name := range []string{
		"Transfer_Encoding", "content_length", "HOST_", "X.HTTP.Method.Override", "X_Original_URL", "Content_Type", "Proxy_Connection", "Keep~Alive",
	} {
		resp, body := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+name+": chunked\r\n\r\n")
		if resp.StatusCode != 400 || !strings.Contains(body, string(audit.ReasonBadHeader)) {
			t.Errorf("h1 %s: %d %s", name, resp.StatusCode, body)
		}
		if got := r.stream(apiHost, fields("+"+strings.ToLower(name), "chunked")...); got != "400" {
			t.Errorf("h2 %s: %s", name, got)
		}
	}
	if up.connections() != 0 {
		t.Errorf("upstream saw\n%s", up.seen())
	}
	for _, name := range []string{"X_Custom", "My.Field", "Transfer_Encodings"} {
		if resp, body := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+name+": x\r\n\r\n"); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
}

// TestD3Bombs: a coded answer that expands a thousandfold ends soon, and the
// agent does not take what it got for whole.
func TestD3Bombs(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		bomb := gzipped(t, strings.Repeat("\x00", 64<<20))
		world := newAuthority(t)
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb)
		})
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		resp, err := r.client(h2).Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err == nil || n > 16<<20 {
			t.Errorf("%d bytes of a bomb of %d, %v", n, len(bomb), err)
		}
	})
}

// TestD3ManyDecoders: more coded answers at once than there is room for are
// refused, and the session goes on.
func TestD3ManyDecoders(t *testing.T) {
	world := newAuthority(t)
	release := make(chan struct{})
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			w.Header().Set("Content-Encoding", "br") // unasked
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-release
		}
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	client, open, refused := r.client(true), 0, 0
	for range 20 {
		resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/held", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case 200:
			open++
		case 503:
			refused++
		}
	}
	if open != 15 || refused != 5 {
		t.Errorf("%d open, %d refused", open, refused)
	}
	if resp, _ := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)}); resp.StatusCode != 200 {
		t.Errorf("a plain answer: %d", resp.StatusCode)
	}
	close(release)
}

// TestH9FragmentsAndControl: fragmented and large messages, pings between the
// fragments, a close code: the same frames arrive, the credential replaced.
func TestH9FragmentsAndControl(t *testing.T) {
	r, up, _ := newWorld(t)
	large := strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB
	frames := "\x01\x05hello" + "\x89\x04ping" + "\x80\x06 world" +
		"\x82\x7f\x00\x00\x00\x00\x00\x04\x00\x00" + large + "\x88\x05\x03\xe8bye"
	newSwitcher(t, up, switched+"\r\n"+frames)
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, handshake)
	br := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	got := make([]byte, len(frames))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != frames {
		t.Errorf("%d bytes, begin %.40q, end %.40q, %v", len(got), got, got[len(got)-20:], err)
	}
}

// H2: fields of the agent's hop stay on it, and none of ours go upstream, whichever
// protocol that speaks. What gRPC insists on is said anew.
func TestH2NothingOfThisHopGoesUpstream(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		world := newAuthority(t)
		seen := make(chan http.Header, 1)
		up := newHandlerUpstream(t, world, h2, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		for te, want := range map[string]http.Header{"gzip": {}, "gzip, trailers": {"Te": {"trailers"}}} {
			want["Authorization"], want["X-Own"] = []string{"Bearer " + canary}, []string{"1"}
			resp, body := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\nAuthorization: Bearer "+placeholder+"\r\nX-Own: 1\r\nX-Named: 1\r\nTE: "+te+
				"\r\nTrailer: X\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nHTTP2-Settings: AAMAAABk\r\nConnection: X-Named\r\n\r\n")
			if resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if got := <-seen; !reflect.DeepEqual(got, want) {
				t.Errorf("h2 %t: %q", h2, got)
			}
		}
	}
}

// H2: the agent gets the fields that the upstream wrote, and none of ours.
func TestH2NothingOfOursComesBack(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		up.respond = func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Own: 1\r\nKeep-Alive: 5\r\nX-Named: 1\r\nConnection: X-Named\r\n\r\nok"
		}
		resp, _ := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: asHolder})
		if want := (http.Header{"Content-Length": {"2"}, "X-Own": {"1"}}); !reflect.DeepEqual(resp.Header, want) {
			t.Errorf("%q", resp.Header)
		}
	})
}
