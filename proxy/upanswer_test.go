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

var badAnswers = []string{
	"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n",
	"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "200 OK\r\n\r\n", "\r\n\r\n",
	"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 200 OK\r\nX\r\n\r\n", "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", upstreamHeaders) + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxAnswerFields+1) + "\r\n",
	strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", maxInterim+1) + okAnswer,
	"HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1",
}

// TestH4BadAnswers: an answer outside the strict form is not passed on, nor is
// the connection used again.
func TestH4BadAnswers(t *testing.T) {
	r, up, _ := newWorld(t)
	client := r.client(false)
	for n, answer := range badAnswers {
		up.mu.Lock()
		up.respond = func(*http.Request) string {
			go up.closeConns() // for those that have no end
			return answer
		}
		up.mu.Unlock()
		resp, body := r.do(client, call{method: "POST", body: "x", url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		if reason := r.refusedPage(body, n+1); resp.StatusCode != 502 || reason != string(audit.ReasonBadResponse) && reason != string(audit.ReasonUpstreamUnreachable) {
			t.Errorf("%.60q: %d %s", answer, resp.StatusCode, reason)
		}
	}
	if up.connections() != len(badAnswers) {
		t.Errorf("%d connections for %d bad answers", up.connections(), len(badAnswers))
	}
}

// TestH8UnsolicitedAnswers: bytes that no request asked for, in the record of
// an answer or behind it, are nobody's answer.
func TestH8UnsolicitedAnswers(t *testing.T) {
	const extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, split := range map[string]bool{"with the answer": false, "a record of its own": true} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			up.respond = func(*http.Request) string { return okAnswer + extra }
			if split {
				up.respond = nil
				up.after = extra
			}
			client := r.client(false)
			for range 5 {
				resp, body := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
				if resp.StatusCode != 200 || body != "ok" {
					t.Fatalf("%d %q", resp.StatusCode, body)
				}
				up.settled()
			}
			if up.connections() != 5 {
				t.Errorf("%d connections for five requests", up.connections())
			}
		})
	}
}

// TestH8ConnectionsAreNotKept: where the upstream waits for a body still, or
// closes as HTTP/1.0 does, the next request goes over another connection.
func TestH8ConnectionsAreNotKept(t *testing.T) {
	head := "POST / HTTP/1.1\r\nHost: " + apiHost + "\r\nAuthorization: Bearer " + placeholder + "\r\n"
	for name, c := range map[string]struct {
		request, answer string
		early           bool
	}{
		"body not asked for": {head + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", okAnswer, true},
		"body under way":     {head + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", okAnswer, true},
		"HTTP/1.0":           {head + "Content-Length: 4\r\n\r\nbody", strings.Replace(okAnswer, "1.1", "1.0", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			up.early, up.respond = c.early, func(*http.Request) string { return c.answer }
			for range 2 {
				if resp, body := r.raw(apiHost, c.request); resp.StatusCode != 200 || body != "ok" {
					t.Errorf("%d %q", resp.StatusCode, body)
				}
			}
			if up.connections() != 2 {
				t.Errorf("%d connections for two requests", up.connections())
			}
		})
	}
}

// TestH2SentAgain: on a connection that was idle, and that the upstream ends
// without an answer, only what may be done twice is sent again, whole, and once.
func TestH2SentAgain(t *testing.T) {
	for _, c := range []struct {
		method, key              string
		unanswered, status, sent int
	}{{"GET", "", 1, 200, 2}, {"GET", "", 9, 502, 2}, {"DELETE", "", 1, 502, 1}, {"POST", "", 1, 502, 1}, {"POST", "once", 1, 200, 2}} {
		r, up, _ := newWorld(t)
		client := r.client(false)
		header := asHolder
		if c.key != "" {
			header = http.Header{"Authorization": asHolder["Authorization"], "Idempotency-Key": {c.key}}
		}
		up.respond = func(*http.Request) string {
			if n := up.count(); n > 1 && n <= 1+c.unanswered {
				return ""
			}
			return okAnswer
		}
		r.do(client, call{url: "https://" + apiHost + "/", header: asHolder})
		resp, body := r.do(client, call{method: c.method, body: "body", url: "https://" + apiHost + "/", header: header})
		if resp.StatusCode != c.status || up.count() != 1+c.sent {
			t.Errorf("%s %s: %d %q, %d requests", c.method, c.key, resp.StatusCode, body, up.count())
		}
		if got, _ := io.ReadAll(up.last(t).Body); string(got) != "body" {
			t.Errorf("%s %s: the last has %q", c.method, c.key, got)
		}
	}
}

// TestH8ConnectionsAreKept: without them a pool of our own would cost a
// handshake a request.
func TestH8ConnectionsAreKept(t *testing.T) {
	r, up, _ := newWorld(t)
	up.respond = func(req *http.Request) string {
		if req.Method == "HEAD" {
			return strings.TrimSuffix(okAnswer, "ok")
		}
		return okAnswer
	}
	client := r.client(false)
	for _, method := range []string{"GET", "POST", "HEAD", "PUT", "DELETE"} {
		r.do(client, call{method: method, body: "body", url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		r.do(client, call{method: method, url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	}
	if up.connections() != 1 || up.count() != 10 {
		t.Errorf("%d requests over %d connections", up.count(), up.connections())
	}
}

// TestChunksOfAnswers: extensions and padding of an upstream's chunks are
// ignored, its trailers kept.
func TestChunksOfAnswers(t *testing.T) {
	const text = "3;x=y\r\nabc\r\n4  \r\ndefg\r\n0;z\r\nX-Sum: 42\r\nX-Sum:43\r\n\r\nnext"
	br := bufio.NewReader(strings.NewReader(text))
	chunks := &chunkReader{br: br, answer: true}
	got, err := io.ReadAll(chunks)
	if string(got) != "abcdefg" || err != nil || !reflect.DeepEqual(chunks.fields, http.Header{"X-Sum": {"42", "43"}}) {
		t.Errorf("%q, %v, %v", got, chunks.fields, err)
	}
	if rest, _ := io.ReadAll(br); string(rest) != "next" {
		t.Errorf("rest %q", rest)
	}
	framing := http.Header{"Content-Length": {"9"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"X"}, "X-Sum": {"42"}}
	if got := withTrailers(nil, framing); !reflect.DeepEqual(got, http.Header{"X-Sum": {"42"}}) {
		t.Errorf("trailers %v", got)
	}
	for _, bad := range []string{"10000000000000000\r\n\r\n", ";x\r\nabc\r\n", "0x3\r\nabc\r\n", "3 3\r\nabc\r\n", "3\r\nabcd\r\n", "3\nabc\r\n"} {
		if got, err := io.ReadAll(&chunkReader{br: bufio.NewReader(strings.NewReader(bad)), answer: true}); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// FuzzAnswer: what we take for an answer net/http takes for the same one.
func FuzzAnswer(f *testing.F) {
	for _, answer := range badAnswers {
		f.Add([]byte(answer))
	}
	f.Add([]byte(okAnswer))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: X, Y\r\nConnection: close\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		block, err := readBlock(bufio.NewReader(strings.NewReader(string(text))), nil, upstreamHeaders)
		if err != nil {
			return
		}
		ours, err := parseAnswer(block)
		if err != nil {
			return
		}
		closes, err := frameAnswer(ours, "GET")
		if err != nil || ours.StatusCode < 200 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(block))), nil)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", block, err)
		}
		if ours.StatusCode != theirs.StatusCode || ours.ContentLength != theirs.ContentLength && !withoutBody(ours, "GET") || theirs.Close && !closes {
			t.Errorf("%q: %d, length %d, close %t; net/http: %d, length %d, close %t",
				block, ours.StatusCode, ours.ContentLength, closes, theirs.StatusCode, theirs.ContentLength, theirs.Close)
		}
	})
}
