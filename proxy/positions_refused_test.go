// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// TestPositionsRefused: what is refused in the positions of target, cookie and
// body, over both protocols; nothing of it reaches an upstream.
func TestPositionsRefused(t *testing.T) {
	api, open := "https://"+apiHost, "https://"+openHost
	at := func(url string, header http.Header) call { return call{url: url, header: header} }
	field := func(value string) call { return post(jsonType, `{"auth":{"token":`+value+`}}`) }
	upper := strings.ToUpper(placeholder)
	for _, c := range []struct {
		name   string
		call   call
		status int
		reason audit.Reason
	}{
		{"C2 query", at(open+"/?api_key="+placeholder, nil), 403, audit.ReasonUnbound},
		{"C2 path", at(open+"/bot"+placeholder+"/x", nil), 403, audit.ReasonUnbound},
		{"C2 cookie", at(open+"/", one("Cookie", "d="+placeholder)), 403, audit.ReasonUnbound},
		{"C2 subprotocol", at(open+"/", one("Sec-Websocket-Protocol", "a."+placeholder)), 403, audit.ReasonUnbound},
		{"C2 subprotocol without upgrade", at(api+"/", one("Sec-Websocket-Protocol", "a."+placeholder)), 403, audit.ReasonMisplaced},
		{"C2 another query name", at(api+"/?key="+placeholder, nil), 403, audit.ReasonMisplaced},
		{"C2 another segment", at(api+"/"+placeholder, nil), 403, audit.ReasonMisplaced},
		{"C2 another cookie", at(api+"/", one("Cookie", "e="+placeholder)), 403, audit.ReasonMisplaced},
		{"C3 query twice", at(api+"/?api_key="+placeholder+"&api_key="+placeholder, nil), 400, audit.ReasonDuplicateCredential},
		{"C3 path twice", at(api+"/bot"+placeholder+"/bot"+placeholder, nil), 400, audit.ReasonDuplicateCredential},
		{"C3 cookie twice", at(api+"/", one("Cookie", "d="+placeholder+"; d=x")), 400, audit.ReasonDuplicateCredential},
		{"C3 form twice", post(formType, "token="+placeholder+"&token=x"), 400, audit.ReasonDuplicateCredential},
		{"C3 form escaped", post(formType, "%74oken=x&token="+placeholder), 400, audit.ReasonDuplicateCredential},
		{"C3 json twice", post(jsonType, `{"auth":{"token":"`+placeholder+`","token":"x"}}`), 400, audit.ReasonDuplicateCredential},
		{"C3 json in two cases", post(jsonType, `{"auth":{"token":"`+placeholder+`","Token":"x"}}`), 400, audit.ReasonDuplicateCredential},
		{"C3 two types", call{method: "POST", url: api + "/", body: "{}", header: http.Header{"Content-Type": {jsonType, "text/plain"}}}, 400, audit.ReasonBadHeader},
		{"C4 query", at(api+"/?api_key=mine", nil), 403, audit.ReasonForeignCredential},
		{"C4 query, name escaped", at(api+"/?api%5fkey=mine", nil), 403, audit.ReasonForeignCredential},
		{"C4 cookie", at(api+"/", one("Cookie", "d=mine")), 403, audit.ReasonForeignCredential},
		{"C4 form", post(formType, "token=mine"), 403, audit.ReasonForeignCredential},
		{"C4 json", field(`"mine"`), 403, audit.ReasonForeignCredential},
		{"C4 json array", field(`["` + placeholder + `"]`), 403, audit.ReasonForeignCredential},
		{"C4 beside ours", at(api+"/?api_key=mine", one("Authorization", "Bearer "+placeholder)), 403, audit.ReasonDuplicateCredential},
		{"C4 body beside ours", call{method: "POST", url: api + "/", body: "token=mine",
			header: http.Header{"Content-Type": {formType}, "Authorization": {"Bearer " + placeholder}}}, 403, audit.ReasonDuplicateCredential},
		{"C5 query, case", at(api+"/?api_key="+upper, nil), 403, audit.ReasonForeignCredential},
		{"C5 query, part", at(api+"/?api_key="+placeholder[4:], nil), 403, audit.ReasonForeignCredential},
		{"C5 query, encoded", at(api+"/?api_key=%73"+placeholder[1:], nil), 403, audit.ReasonMisplaced},
		{"C5 path, longer", at(api+"/bot"+placeholder+"x/getMe", nil), 403, audit.ReasonMisplaced},
		{"C5 path, part", at(api+"/bot"+placeholder[4:]+"/getMe", nil), 401, audit.ReasonNoCredential},
		{"C5 form, split", post(formType, "token="+placeholder[:9]+"&token2="+placeholder[9:]), 403, audit.ReasonForeignCredential},
		{"C5 form, encoded", post(formType, "token=%73"+placeholder[1:]), 403, audit.ReasonForeignCredential},
		{"C5 json, escaped", field(`"\u0073` + placeholder[1:] + `"`), 403, audit.ReasonForeignCredential},
		{"C6 form", post(formType, "text="+placeholder), 401, audit.ReasonNoCredential},
		{"C6 json", post(jsonType, `{"token":"`+placeholder+`"}`), 401, audit.ReasonNoCredential},
		{"C6 multipart", post("multipart/form-data; boundary=x", "--x\r\n"+placeholder), 401, audit.ReasonNoCredential},
		{"malformed json", post(jsonType, `{"auth":{"token":"`+placeholder+`"}} x`), 400, audit.ReasonBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up := newPositions(t)
				resp, body := r.do(r.client(h2), c.call)
				if reason := r.refusedPage(body, 1); resp.StatusCode != c.status || reason != string(c.reason) {
					t.Errorf("refused with %d %s, not %d %s", resp.StatusCode, reason, c.status, c.reason)
				}
				if up.connections() != 0 || r.server.holding.Load() != 0 {
					t.Errorf("%d bytes held, upstream saw\n%s", r.server.holding.Load(), up.seen())
				}
			})
		})
	}
}

// TestC2PositionsPlaintext: no position is swapped without TLS.
func TestC2PositionsPlaintext(t *testing.T) {
	r, _, plain := newPlainPositions(t, allPositions...)
	for _, c := range []call{
		{url: "http://" + plainHost + "/?api_key=" + placeholder},
		{url: "http://" + plainHost + "/bot" + placeholder + "/x"},
		{url: "http://" + plainHost + "/", header: one("Cookie", "d="+placeholder)},
	} {
		if resp, body := r.do(r.client(false), c); resp.StatusCode != 403 || !strings.Contains(body, string(audit.ReasonPlaintext)) {
			t.Errorf("%s: %d %s", c.url, resp.StatusCode, body)
		}
	}
	r.do(r.client(false), call{method: "POST", url: "http://" + plainHost + "/", header: one("Content-Type", formType), body: "token=" + placeholder})
	if seen := plain.seen(); strings.Contains(seen, canary) || plain.count() != 1 {
		t.Errorf("upstream saw\n%s", seen)
	}
}

// TestC8Positions: a redirect goes back as it is; the other host would see the
// placeholder alone.
func TestC8Positions(t *testing.T) {
	r, up := newPositions(t)
	up.respond = func(*http.Request) string {
		return "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n"
	}
	resp, _ := r.do(r.client(true), post(formType, "token="+placeholder))
	if resp.StatusCode != 307 || up.count() != 1 || resp.Header.Get("Location") != "https://evil.test/" {
		t.Errorf("%d %v, %d requests", resp.StatusCode, resp.Header, up.count())
	}
}

// counted is a body of so many bytes.
type counted struct{ left int }

func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), c.left)
	for i := range p[:n] {
		p[i] = 'x'
	}
	c.left -= n
	return n, nil
}

// upload sends size bytes, and reads the answer while it does.
func (r *rig) upload(h2 bool, size int, told bool) (status int, body string) {
	r.t.Helper()
	req, err := http.NewRequest("POST", "https://"+apiHost+"/", &counted{left: size})
	if err != nil {
		r.t.Fatal(err)
	}
	req.ContentLength = -1
	if told {
		req.ContentLength = int64(size)
	}
	req.Header = http.Header{"Content-Type": {formType}, "Authorization": {"Bearer " + placeholder}}
	if !h2 { // net/http's client takes the end of the connection for more important than the answer
		conn := r.dialTLS(apiHost, "http/1.1")
		go req.Write(conn)
		resp, body := r.read(bufio.NewReader(conn))
		return resp.StatusCode, body
	}
	resp, err := r.client(true).Do(req)
	if err != nil {
		r.t.Fatalf("%d, told %t: %v", size, told, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// TestBodyLimit: what must be held and is too large is refused, whether or not
// its length was told; what is exactly as large is not.
func TestBodyLimit(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		for _, told := range []bool{true, false} {
			for size, want := range map[int]int{maxHeld: 200, maxHeld + 1: 413, 3 * maxHeld: 413} {
				r, up := newPositions(t)
				status, body := r.upload(h2, size, told)
				if status != want || (status == 413) != strings.Contains(body, string(audit.ReasonBodyLimit)) {
					t.Errorf("%d, told %t: %d %s", size, told, status, body)
				}
				if rec := r.sink.last(1); r.server.holding.Load() != 0 || (status == 413) != (up.connections() == 0) {
					t.Errorf("%d bytes held, record %+v", r.server.holding.Load(), rec)
				}
			}
		}
	})
}

// TestHoldingLimit: a session that holds too much is told, and goes on.
func TestHoldingLimit(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t)
		r.server.holding.Store(maxHeldTotal - firstHeld + 1)
		q := post(formType, "token="+placeholder)
		resp, body := r.do(r.client(h2), q)
		if reason := r.refusedPage(body, 1); resp.StatusCode != 503 || reason != string(audit.ReasonBodyLimit) || up.connections() != 0 {
			t.Errorf("%d %s", resp.StatusCode, reason)
		}
		q.header["Content-Type"], q.header["Authorization"] = []string{"text/plain"}, []string{"Bearer " + placeholder}
		if resp, _ := r.do(r.client(h2), q); resp.StatusCode != 200 {
			t.Errorf("what is not held: %d", resp.StatusCode)
		}
		r.sink.wait(2)
		r.server.holding.Add(-1)
		if status, body := r.upload(h2, firstHeld+1, false); status != 503 { // begins small, and grows
			t.Errorf("what grows: %d %s", status, body)
		}
		r.sink.wait(3)
		if resp, _ := r.do(r.client(h2), post(formType, "token="+placeholder)); resp.StatusCode != 200 {
			t.Errorf("as much as may be: %d", resp.StatusCode)
		}
	})
}

// TestOtherBodiesStream: at a host with positions in bodies, a body of another
// type is answered before it ends.
func TestOtherBodiesStream(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		world := newAuthority(t)
		const first = "\x00\x00\x00\x00\x05first" // a message of gRPC
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", "application/grpc")
			io.CopyN(w, r.Body, int64(len(first)))
			w.(http.Flusher).Flush()
			io.Copy(w, r.Body)
		})
		session := testSession(up.Listener.Addr().String(), "127.0.0.1:1")
		session.Credentials[0].Positions = []policy.Position{position(policy.PositionBearer, ""), position(policy.PositionJSON, "/a")}
		r := newRig(t, session, world, nil)
		pr, pw := io.Pipe()
		go io.WriteString(pw, first)
		req := authorized(t.Context(), t, "POST", "https://"+apiHost+"/", pr)
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := r.client(h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got := make([]byte, len(first))
		if _, err := io.ReadFull(resp.Body, got); string(got) != first {
			t.Errorf("%q, %v", got, err)
		}
		pw.Close()
	})
}

// TestPathRules: rules see the path with the placeholder in it.
func TestPathRules(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Credentials[0].Positions = []policy.Position{position(policy.PositionPath, "bot")}
	session.Credentials[0].Allow = []policy.Allow{{Method: "GET", Glob: "/bot*/getMe", Rule: "test:9"}}
	r := newRig(t, session, world, nil)
	for target, want := range map[string]int{"/getMe": 200, "/deleteWebhook": 403, "/x/getMe": 403, "/../getMe": 400} {
		resp, _ := r.raw(apiHost, "GET /bot"+placeholder+target+" HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n")
		if resp.StatusCode != want {
			t.Errorf("%s: %d", target, resp.StatusCode)
		}
	}
	if up.count() != 1 {
		t.Errorf("upstream saw\n%s", up.seen())
	}
}

// TestL6PositionErrors: what goes wrong upstream is told without the target
// that went there; the rig looks at answers, logs and records.
func TestL6PositionErrors(t *testing.T) {
	for _, answer := range []string{"nonsense\r\n\r\n", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n"} {
		r, up := newPositions(t)
		up.respond = func(*http.Request) string { return answer + "\r\nConnection: close\r\n" }
		for _, c := range []call{
			{url: "https://" + apiHost + "/?api_key=" + placeholder},
			{url: "https://" + apiHost + "/bot" + placeholder + "/getMe"},
			post(formType, "token="+placeholder),
		} {
			if resp, body := r.do(r.client(true), c); resp.StatusCode != 502 {
				t.Errorf("%q: %d %s", answer, resp.StatusCode, body)
			}
		}
		up.close()
		if resp, body := r.do(r.client(true), call{url: "https://" + apiHost + "/?api_key=" + placeholder}); resp.StatusCode != 502 {
			t.Errorf("closed: %d %s", resp.StatusCode, body)
		}
	}
}
