// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

const auth = "Authorization: Bearer " + placeholder + "\r\n"

// TestH1Framing: every bad head, sent with a smuggled request behind it, gets
// its refusal and the end of the connection; nothing goes upstream.
func TestH1Framing(t *testing.T) {
	r, up, _ := newWorld(t)
	for n, c := range badHeads {
		text := strings.Replace(c.head, "Host: a", "Host: "+apiHost, 1) + "\r\n" + auth + "\r\n" + request(apiHost)
		if strings.Contains(c.head, "\r\n") == false {
			text = c.head + "\r\n\r\n" + request(apiHost)
		}
		conn := r.dialTLS(apiHost, "http/1.1")
		go io.WriteString(conn, text)
		br := bufio.NewReader(conn)
		resp, body := r.read(br)
		if resp.StatusCode != c.status && c.name != "two hosts" {
			t.Errorf("%s: status %d, not %d", c.name, resp.StatusCode, c.status)
		}
		r.refusedPage(body, n+1)
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("%s: the connection went on: %q", c.name, rest)
		}
		conn.Close()
	}
	if up.connections() != 0 {
		t.Errorf("upstream saw\n%s", up.seen())
	}
}

// TestH1Body: a body that breaks its framing ends the exchange, and upstream
// never has a whole request.
func TestH1Body(t *testing.T) {
	for _, chunks := range []string{
		"3;ext=1\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcX\r\n0\r\n\r\n", "zz\r\n", "3\r\nabc\r\n0\r\nx y: z\r\n\r\n",
		"ffffffffffffffffff\r\n",
	} {
		r, up, _ := newWorld(t)
		resp, body := r.raw(apiHost, "POST / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+"Transfer-Encoding: chunked\r\n\r\n"+chunks+request(apiHost))
		if reason := r.refusedPage(body, 1); resp.StatusCode != 400 || reason != string(audit.ReasonBadFraming) || !resp.Close {
			t.Errorf("%q: %d %s, close %t", chunks, resp.StatusCode, reason, resp.Close)
		}
		if up.count() != 0 {
			t.Errorf("%q: upstream has a request", chunks)
		}
	}
}

// TestH3Pipelined: each request of one write is judged by itself, in order.
func TestH3Pipelined(t *testing.T) {
	r, up, _ := newWorld(t)
	conn := r.dialTLS(apiHost, "http/1.1")
	post := "POST /two HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "Content-Length: " + fmt.Sprint(len(request(gitHost))) + "\r\n\r\n" + request(gitHost)
	chunked := "POST /three HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\nX: y\r\n\r\n"
	bare := "GET /four HTTP/1.1\r\nHost: " + apiHost + "\r\n\r\n"
	go io.WriteString(conn, request(apiHost)+post+chunked+bare+request(gitHost)+request(apiHost))
	br := bufio.NewReader(conn)
	for i, want := range []int{200, 200, 200, 401, 421, 200} {
		if resp, _ := r.read(br); resp.StatusCode != want {
			t.Fatalf("answer %d: status %d, not %d", i, resp.StatusCode, want)
		}
	}
	if recs := r.sink.wait(6); up.count() != 4 || recs[3].Verdict != audit.Deny || recs[4].Verdict != audit.Deny {
		t.Errorf("%d requests upstream, records %+v", up.count(), recs)
	}
	if seen := up.seen(); strings.Contains(seen, "X: y") {
		t.Errorf("a trailer went upstream:\n%s", seen)
	}
}

// TestH4Methods: CONNECT, TRACE, TRACK and PRI over h2, and what else only h2
// can say.
func TestH4Methods(t *testing.T) {
	r, up, _ := newWorld(t)
	for _, c := range []struct {
		name string
		want string
		f    []string
	}{
		{"CONNECT", "405|reset", []string{":method", "CONNECT", ":authority", apiHost}},
		{"CONNECT websocket", "405|reset", append(fields(":method", "CONNECT"), ":protocol", "websocket")},
		{"TRACE", "405", fields(":method", "TRACE")},
		{"TRACK", "405", fields(":method", "TRACK")},
		{"PRI", "405", fields(":method", "PRI")},
		{"space in method", "400|reset", fields(":method", "GET /x")},
		{"lower case", "400", fields(":method", "get")},
		{"scheme http", "400|reset", fields(":scheme", "http")},
		{"absolute path", "400|reset", fields(":path", "https://evil.test/x")},
		{"asterisk", "400|reset", fields(":path", "*")},
		{"no path", "reset", fields(":path", "")},
		{"fragment", "400", fields(":path", "/a#b")},
		{"two lengths", "400|reset", fields("+content-length", "0", "+content-length", "0")},
		{"bad length", "400|reset", fields("+content-length", "+0")},
		{"length without body", "400|reset", fields("+content-length", "5")},
		{"two hosts", "421|400", fields("+host", apiHost, "+host", gitHost)},
		{"connection field", "400|reset", fields("+connection", "upgrade")},
		{"transfer coding", "400|reset", fields("+transfer-encoding", "chunked")},
		{"two authorities", "reset", append([]string{":authority", gitHost}, fields()...)},
		{"port", "400", fields(":authority", apiHost+":8443")},
		{"user", "400|reset", fields(":authority", "u@"+apiHost)},
		{"many fields", "431", fields(many("x", maxHeaderCount)...)},
	} {
		if got := r.stream(apiHost, c.f...); !strings.Contains("|"+c.want+"|", "|"+got+"|") {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
	if up.connections() != 0 {
		t.Errorf("upstream saw\n%s", up.seen())
	}
}

func many(name string, n int) (list []string) {
	for range n {
		list = append(list, "+"+name, "y")
	}
	return list
}

// TestH4Answers: answers that would change the protocol are not passed on.
func TestH4Answers(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		eachProtocol(t, func(t *testing.T, h2 bool) {
			r, up, _ := newWorld(t)
			up.respond = func(*http.Request) string { return answer }
			resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if reason := r.refusedPage(body, 1); resp.StatusCode != 502 || reason != string(audit.ReasonBadResponse) {
				t.Errorf("%d %s", resp.StatusCode, reason)
			}
		})
	}
}

// TestH6Connection: Connection names the credential, which stays, and another
// field, which goes.
func TestH6Connection(t *testing.T) {
	r, up, _ := newWorld(t)
	resp, _ := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+
		"Connection: Authorization, X-Hop, Host, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers, deflate\r\nProxy-Connection: close\r\nX-End: 1\r\n\r\n")
	seen := up.seen()
	if resp.StatusCode != 200 || !strings.Contains(seen, "Authorization: Bearer "+canary+"\r\n") || !strings.Contains(seen, "X-End: 1\r\n") {
		t.Errorf("%d, upstream saw\n%s", resp.StatusCode, seen)
	}
	for _, gone := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "deflate", "Connection"} {
		if strings.Contains(seen, gone) {
			t.Errorf("%s went upstream:\n%s", gone, seen)
		}
	}
}

// TestC3MixedCase: two spellings of one header are two values of it.
func TestC3MixedCase(t *testing.T) {
	r, up, _ := newWorld(t)
	for n, lines := range []string{
		"authorization: Bearer mine\r\nAUTHORIZATION: Bearer " + placeholder + "\r\n",
		"X-API-KEY: " + placeholder + "\r\nx-api-key: mine\r\n",
	} {
		resp, body := r.raw(apiHost, "GET / HTTP/1.1\r\nHost: "+apiHost+"\r\n"+lines+"\r\n")
		if reason := r.refusedPage(body, n+1); resp.StatusCode != 400 || reason != string(audit.ReasonDuplicateCredential) {
			t.Errorf("%d %s", resp.StatusCode, reason)
		}
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// TestH10Target: path and query arrive byte for byte, or not at all.
func TestH10Target(t *testing.T) {
	r, up, _ := newWorld(t)
	for _, target := range targets {
		before := len(up.seen())
		resp, body := r.raw(apiHost, "GET "+target+" HTTP/1.1\r\nHost: "+apiHost+"\r\n"+auth+"\r\n")
		seen := up.seen()[before:]
		switch {
		case resp.StatusCode == 400 && seen == "":
			t.Logf("h1 %s is refused", target)
		case !strings.HasPrefix(seen, "GET "+target+" HTTP/1.1\r\nHost: "+apiHost+"\r\n"):
			t.Errorf("h1 %s: %d %s, upstream saw\n%s", target, resp.StatusCode, body, seen)
		}
		before = len(up.seen())
		got := r.stream(apiHost, fields(":path", target)...)
		seen = up.seen()[before:]
		switch {
		case (got == "400" || got == "reset") && seen == "":
			t.Logf("h2 %s is refused", target)
		case !strings.HasPrefix(seen, "GET "+target+" HTTP/1.1\r\n"):
			t.Errorf("h2 %s: %s, upstream saw\n%s", target, got, seen)
		}
	}
}

// TestAnswers: heads and bodies of all shapes come back as they were.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, answer string
		status               int
		length               int64
		body                 string
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, 3, "abc"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, -1, "abc"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0, ""},
		{"until close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 200, -1, ""},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, 1234, ""},
		{"204", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204, 0, ""},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, 0, ""},
		{"103 first", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, 2, "ok"},
		{"500", "GET", "HTTP/1.1 500 Whatever\r\nContent-Length: 2\r\nAlt-Svc: h3=\":443\"\r\n\r\nno", 500, 2, "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up, _ := newWorld(t)
				up.respond = func(*http.Request) string { return c.answer }
				client := r.client(h2)
				for range 2 { // the connection is still good
					resp, body := r.do(client, call{method: c.method, url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
					if c.name == "until close" {
						resp.ContentLength = c.length
					}
					if resp.StatusCode != c.status || body != c.body || resp.ContentLength != c.length && !(h2 && c.length <= 0) {
						t.Errorf("%d, length %d, %q", resp.StatusCode, resp.ContentLength, body)
					}
					for _, gone := range []string{"Alt-Svc", "Link", "Keep-Alive"} {
						if resp.Header.Get(gone) != "" {
							t.Errorf("%s was passed on", gone)
						}
					}
				}
			})
		})
	}
}

// TestAnswerCut: an answer that breaks off upstream is not passed on as whole.
func TestAnswerCut(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
	} {
		eachProtocol(t, func(t *testing.T, h2 bool) {
			r, up, _ := newWorld(t)
			up.respond = func(*http.Request) string {
				go up.closeConns()
				return answer
			}
			req, _ := http.NewRequest("GET", "https://"+apiHost+"/", nil)
			req.Header.Set("Authorization", "Bearer "+placeholder)
			resp, err := r.client(h2).Do(req)
			if err != nil {
				return // the cut came before the head, also an error
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == 200 {
				t.Errorf("the agent takes %q for whole", body)
			}
		})
	}
}
