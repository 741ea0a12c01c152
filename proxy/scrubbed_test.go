// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
)

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestL1Scrubbed: whatever place of an answer the upstream puts the real
// credential in, the agent reads the placeholder there.
func TestL1Scrubbed(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	answers := map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"body": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "key="+r.Header.Get("Authorization"))
		}, "key=Bearer " + placeholder},
		"body in pieces": {func(w http.ResponseWriter, r *http.Request) {
			for _, c := range []byte("key=" + canary) {
				w.Write([]byte{c})
				w.(http.Flusher).Flush()
			}
		}, "key=" + placeholder},
		"gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(gzipped(t, "key="+canary))
		}, "key=" + placeholder},
		"base64": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, encode([]byte("user:"+canary)))
		}, encode([]byte("user:" + placeholder))},
		"hex": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, hex.EncodeToString([]byte(canary)))
		}, hex.EncodeToString([]byte(placeholder))},
		"without a credential in the request's answer": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "nothing to hide")
		}, "nothing to hide"},
	}
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				world := newAuthority(t)
				up := newHandlerUpstream(t, world, true, a.handler)
				at := up.Listener.Addr().String()
				r := newRig(t, testSession(at, at), world, nil)
				resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
				if resp.StatusCode != 200 || string(body) != a.want {
					t.Errorf("%d %q, want %q", resp.StatusCode, body, a.want)
				}
				if resp.Header.Get("Content-Encoding") != "" {
					t.Errorf("fields %v", resp.Header)
				}
			})
		})
	}
}

// TestL1ScrubbedFields: the same in fields, cookies, redirects and trailers.
func TestL1ScrubbedFields(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		world := newAuthority(t)
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Trailer", "X-Trailer, "+canary)
			h.Set("X-Key", canary)
			h.Set("Set-Cookie", "key="+canary)
			h.Set("Location", "https://elsewhere.test/?key="+canary)
			h.Set("X-"+canary[:20]+"-Name", "no")
			w.WriteHeader(201)
			w.(http.Flusher).Flush()
			io.WriteString(w, "made")
			h.Set("X-Trailer", canary)
		})
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		resp, _ := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		for name, want := range map[string]string{
			"X-Key": placeholder, "Set-Cookie": "key=" + placeholder, "Location": "https://elsewhere.test/?key=" + placeholder,
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := resp.Trailer.Get("X-Trailer"); got != placeholder {
			t.Errorf("trailer is %q", got)
		}
		if _, told := resp.Trailer[http.CanonicalHeaderKey(canary)]; told {
			t.Errorf("a trailer is announced that is called like the credential: %v", resp.Trailer)
		}
	})
}

// TestL3UnknownCoding: what cannot be searched does not pass.
func TestL3UnknownCoding(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		world := newAuthority(t)
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); strings.Contains(got, "exi") {
				t.Errorf("upstream was asked for %q", got)
			}
			w.Header().Set("Content-Encoding", "exi")
			io.WriteString(w, canary)
		})
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		header := one("Authorization", "Bearer "+placeholder)
		header["Accept-Encoding"] = []string{"exi, gzip"}
		if resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: header}); resp.StatusCode != 502 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

// TestL5NoRange: a range would cut a credential in two.
func TestL5NoRange(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" || r.Header.Get("If-Range") != "" {
			t.Errorf("upstream got %v", r.Header)
		}
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	header := one("Authorization", "Bearer "+placeholder)
	header["Range"], header["If-Range"] = []string{"bytes=0-3"}, []string{`"x"`}
	if resp, _ := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: header}); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
}
