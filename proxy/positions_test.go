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
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// position is one kind in short.
func position(kind policy.PositionKind, name string) policy.Position {
	return policy.Position{Kind: kind, Name: name}
}

// allPositions are those beyond a header of their own.
var allPositions = []policy.Position{
	position(policy.PositionBearer, ""),
	position(policy.PositionScheme, "Bot"),
	position(policy.PositionQuery, "api_key"),
	position(policy.PositionPath, "bot"),
	position(policy.PositionCookie, "d"),
	position(policy.PositionForm, "token"),
	position(policy.PositionJSON, "/auth/token"),
	position(policy.PositionSubprotocol, ""),
	position(policy.PositionHeader, "dd-api-key"),
}

// newPositions is a world whose first credential has these positions, or all,
// and whose second goes to the same host as dd-application-key.
func newPositions(t testing.TB, positions ...policy.Position) (*rig, *recorder) {
	t.Helper()
	if len(positions) == 0 {
		positions = allPositions
	}
	r, up, _ := newPlainPositions(t, positions...)
	return r, up
}

// newPlainPositions has a recorder without TLS too.
func newPlainPositions(t testing.TB, positions ...policy.Position) (*rig, *recorder, *recorder) {
	t.Helper()
	world := newAuthority(t)
	up, plain := newRecorder(t, world, nil), newRecorder(t, nil, nil)
	session := testSession(up.address(), plain.address())
	session.Credentials[0].Positions = positions
	session.Credentials[1].Hosts = append(session.Credentials[1].Hosts, apiHost)
	session.Credentials[1].Positions = append(session.Credentials[1].Positions, position(policy.PositionHeader, "dd-application-key"))
	return newRig(t, session, world, nil), up, plain
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// post is a request with a body of that type.
func post(kind, body string) call {
	return call{method: "POST", url: "https://" + apiHost + "/x?a=%7e", header: one("Content-Type", kind), body: body}
}

// TestC1Positions: each place carries the real value upstream, and every other
// byte of target and body is the client's.
func TestC1Positions(t *testing.T) {
	get := func(target string, header http.Header) call {
		return call{url: "https://" + apiHost + target, header: header}
	}
	for _, c := range []struct {
		name     string
		call     call
		target   string
		header   string // NAME: VALUE
		body     string
		position string
		twice    bool
	}{
		{"query", get("/a%2Fb?z=%7e+;&api_key="+placeholder+"&y", nil), "/a%2Fb?z=%7e+;&api_key=" + canary + "&y", "", "", "query: api_key", false},
		{"path", get("/bot"+placeholder+"/getMe?x=%41", nil), "/bot" + canary + "/getMe?x=%41", "", "", "path: bot", false},
		{"path behind two slashes", get("//bot"+placeholder+"/getMe", nil), "//bot" + canary + "/getMe", "", "", "path: bot", false},
		{"scheme", get("/", one("Authorization", "Bot "+placeholder)), "/", "Authorization: Bot " + canary, "", "scheme: Bot", false},
		{"cookie", get("/", one("Cookie", "theirs=1; d="+placeholder)), "/", "Cookie: d=" + canary, "", "cookie: d", false},
		{"form", post(formType, "a=%7e+x&token="+placeholder+"&b"), "/x?a=%7e", "Content-Length: " + fmt.Sprint(16+len(canary)), "a=%7e+x&token=" + canary + "&b", "form: token", false},
		{"json", post(jsonType, ` {"t": "`+placeholder+`", "auth":{"token":"`+placeholder+"\"}}\n"), "/x?a=%7e", "",
			` {"t": "` + placeholder + `", "auth":{"token":"` + canary + "\"}}\n", "json: /auth/token", false},
		{"several headers", get("/", http.Header{"Dd-Api-Key": {placeholder}, "Authorization": {"Bearer " + placeholder}}), "/",
			"Authorization: Bearer " + canary, "", "bearer, header: dd-api-key", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up := newPositions(t)
				resp, _ := r.do(r.client(h2), c.call)
				rec, seen := r.sink.last(1), up.seen()
				if resp.StatusCode != 200 || rec.Position != c.position || rec.Credential != "openai" || rec.Verdict != audit.Allow {
					t.Fatalf("%d, record %+v", resp.StatusCode, rec)
				}
				req := up.last(t)
				body, _ := io.ReadAll(req.Body)
				if req.RequestURI != c.target || string(body) != c.body {
					t.Errorf("upstream got %q and %q", req.RequestURI, body)
				}
				if c.header != "" && !strings.Contains(seen, "\r\n"+c.header+"\r\n") {
					t.Errorf("upstream saw\n%s", seen)
				}
				want := 1
				if c.twice {
					want = 2
				}
				if strings.Count(seen, canary) != want || strings.Contains(strings.Replace(seen, `"t": "`+placeholder, "", 1), placeholder) {
					t.Errorf("upstream saw\n%s", seen)
				}
				if strings.Contains(rec.Path, canary) || r.server.holding.Load() != 0 {
					t.Errorf("path %q, %d bytes held", rec.Path, r.server.holding.Load())
				}
			})
		})
	}
}

// TestC1Chunked: a body of unknown length is held, swapped and sent with one.
func TestC1Chunked(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t)
		body := "token=" + placeholder + "&text=" + strings.Repeat("x", 100_000)
		req, err := http.NewRequest("POST", "https://"+apiHost+"/", io.NopCloser(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", formType)
		resp, err := r.client(h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got, _ := io.ReadAll(up.last(t).Body)
		if want := strings.Replace(body, placeholder, canary, 1); string(got) != want || up.last(t).ContentLength != int64(len(want)) {
			t.Errorf("%d bytes of %d, length %d", len(got), len(want), up.last(t).ContentLength)
		}
		if rec := r.sink.last(1); rec.BytesIn != uint64(len(body)) || r.server.holding.Load() != 0 {
			t.Errorf("record %+v, %d bytes held", rec, r.server.holding.Load())
		}
	})
}

// TestC1Continue: a client that waits is asked for the body that is held, and
// the connection goes on.
func TestC1Continue(t *testing.T) {
	r, up := newPositions(t)
	conn := r.dialTLS(apiHost, "http/1.1")
	body := `{"auth":{"token":"` + placeholder + `"}}`
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", apiHost, jsonType, len(body))
	br := bufio.NewReader(conn)
	if line, err := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	br.ReadString('\n')
	io.WriteString(conn, body+request(apiHost))
	for range 2 {
		if resp, _ := r.read(br); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if seen := up.seen(); strings.Count(seen, canary) != 2 || strings.Contains(seen, "Expect") {
		t.Errorf("upstream saw\n%s", seen)
	}
}

// TestC1CookieAmongOthers: ours stays in its place between those that the host
// set; those of somebody else go.
func TestC1CookieAmongOthers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t)
		up.respond = func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
		}
		client := r.client(h2)
		r.do(client, call{url: "https://" + apiHost + "/", header: one("Cookie", "d="+placeholder)})
		r.do(client, call{url: "https://" + apiHost + "/", header: one("Cookie", "a=1; x=3; d="+placeholder+"; b=2")})
		if got := up.last(t).Header["Cookie"]; len(got) != 1 || got[0] != "a=1; d="+canary+"; b=2" {
			t.Errorf("upstream got %q", got)
		}
	})
}

// TestC1Two: two credentials on one request, each judged by its own rules.
func TestC1Two(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t)
		both := http.Header{"Dd-Api-Key": {placeholder}, "Dd-Application-Key": {otherHolder}}
		r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: both})
		if got := up.last(t).Header; got.Get("Dd-Api-Key") != canary || got.Get("Dd-Application-Key") != otherCanary {
			t.Errorf("upstream got %v", got)
		}
		if rec := r.sink.last(1); rec.Credential != "openai, github" || rec.Position != "header: dd-api-key, header: dd-application-key" {
			t.Errorf("record %+v", rec)
		}
		crossed := http.Header{"Dd-Api-Key": {otherHolder}, "Dd-Application-Key": {placeholder}}
		resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: crossed})
		if reason := r.refusedPage(body, 2); resp.StatusCode != 403 || reason != string(audit.ReasonMisplaced) || up.count() != 1 {
			t.Errorf("crossed: %d %s", resp.StatusCode, reason)
		}
	})
}

// TestTwoRules: what one credential may not do, both may not.
func TestTwoRules(t *testing.T) {
	for _, denied := range []int{0, 1} {
		world := newAuthority(t)
		up := newRecorder(t, world, nil)
		session := testSession(up.address(), up.address())
		session.Credentials[1].Hosts = []string{apiHost}
		session.Credentials[1].Positions = []policy.Position{position(policy.PositionHeader, "dd-application-key")}
		session.Credentials[denied].Allow = []policy.Allow{{Method: "GET", Glob: "/only", Rule: "test:9"}}
		r := newRig(t, session, world, nil)
		header := http.Header{"X-Api-Key": {placeholder}, "Dd-Application-Key": {otherHolder}}
		for target, want := range map[string]int{"/only": 200, "/else": 403} {
			if resp, body := r.do(r.client(true), call{url: "https://" + apiHost + target, header: header}); resp.StatusCode != want {
				t.Errorf("%d %s: %d %s", denied, target, resp.StatusCode, body)
			}
		}
		if up.count() != 1 {
			t.Errorf("%d requests upstream", up.count())
		}
	}
}

// TestC6OtherBodies: in bodies of other types, and elsewhere in ours, the
// placeholder is text.
func TestC6OtherBodies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t)
		auth := "Bearer " + placeholder
		for _, c := range []struct{ kind, coding, body string }{
			{"multipart/form-data; boundary=x", "", "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + placeholder + "\r\n--x--\r\n"},
			{"text/plain", "", "token=" + placeholder},
			{"application/x-ndjson", "", `{"auth":{"token":"` + placeholder + `"}}` + "\n{}"},
			{jsonType, "gzip", "not looked at " + placeholder},
			{jsonType, "", `{"auth":"` + placeholder + `","token":"` + placeholder + `","auth/token":"` + placeholder + `"}`},
			{formType, "", "text=token=" + placeholder + "&tokens=" + placeholder},
		} {
			q := post(c.kind, c.body)
			q.header["Authorization"] = []string{auth}
			if c.coding != "" {
				q.header["Content-Encoding"] = []string{c.coding}
			}
			resp, _ := r.do(r.client(h2), q)
			if body, _ := io.ReadAll(up.last(t).Body); resp.StatusCode != 200 || string(body) != c.body {
				t.Errorf("%s: %d, body %q", c.kind, resp.StatusCode, body)
			}
		}
	})
}

// TestWebSocketProtocol: the real value goes out in the list, and the upstream's
// choice comes back with the placeholder.
func TestWebSocketProtocol(t *testing.T) {
	r, up := newPositions(t)
	const prefix = "openai-insecure-api-key."
	newSwitcher(t, up, switched+"Sec-WebSocket-Protocol: "+prefix+canary+"\r\n\r\n")
	conn := r.dialTLS(apiHost, "http/1.1")
	list := "realtime, " + prefix + "%s, openai-beta.realtime-v1"
	text := strings.Replace(handshake, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: "+fmt.Sprintf(list, placeholder), 1)
	resp := r.answer(conn, strings.Replace(text, auth, "", 1))
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Protocol") != prefix+placeholder {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if got := up.last(t).Header.Get("Sec-Websocket-Protocol"); got != fmt.Sprintf(list, canary) {
		t.Errorf("upstream got %q", got)
	}
	conn.Close()
	if rec := r.sink.last(1); rec.Position != "subprotocol" || rec.Credential != "openai" {
		t.Errorf("record %+v", rec)
	}
}

// answer sends a handshake and returns the answer's head.
func (r *rig) answer(conn io.ReadWriter, text string) *http.Response {
	r.t.Helper()
	io.WriteString(conn, text)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.noLeak(fmt.Sprint(resp.Header))
	return resp
}
