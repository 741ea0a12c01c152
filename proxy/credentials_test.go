// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func one(name, value string) http.Header { return http.Header{name: {value}} }

// TestC1Swap: each declared position carries the real value upstream, once, and
// nothing of the placeholder.
func TestC1Swap(t *testing.T) {
	for _, c := range []struct {
		name, host   string
		header       http.Header
		sent, secret string // the field upstream, and the real value in it
		position     string
	}{
		{"bearer", apiHost, one("Authorization", "Bearer "+placeholder), "Authorization: Bearer " + canary, canary, "bearer"},
		{"scheme in lower case", apiHost, one("Authorization", "bearer "+placeholder), "Authorization: Bearer " + canary, canary, "bearer"},
		{"header", apiHost, one("X-Api-Key", placeholder), "X-Api-Key: " + canary, canary, "header: x-api-key"},
		{"token", gitHost, one("Authorization", "token "+otherHolder), "Authorization: token " + otherCanary, otherCanary, "token"},
		{"basic", gitHost, one("Authorization", basic("x-access-token", otherHolder)),
			"Authorization: " + basic("x-access-token", otherCanary), basic("x-access-token", otherCanary), "basic: password"},
		{"basic in lower case", gitHost, one("Authorization", strings.Replace(basic("", otherHolder), "Basic", "basic", 1)),
			"Authorization: " + basic("", otherCanary), basic("", otherCanary), "basic: password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up, _ := newWorld(t)
				resp, _ := r.do(r.client(h2), call{url: "https://" + c.host + "/v1/models", header: c.header})
				seen := up.seen()
				if resp.StatusCode != 200 || strings.Count(seen, c.sent+"\r\n") != 1 || strings.Count(seen, c.secret) != 1 {
					t.Errorf("status %d, upstream saw\n%s", resp.StatusCode, seen)
				}
				if strings.Contains(seen, placeholder) || strings.Contains(seen, otherHolder) {
					t.Errorf("the placeholder went out:\n%s", seen)
				}
				if rec := r.sink.last(1); rec.Position != c.position || rec.Verdict != audit.Allow || rec.Credential == "" || rec.Status != 200 {
					t.Errorf("record %+v", rec)
				}
			})
		})
	}
}

// TestC1Outbound: the upstream wants it elsewhere than the agent put it.
func TestC1Outbound(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Credentials[0].Outbound = &policy.Position{Kind: policy.PositionHeader, Name: "x-goog-api-key"}
	r := newRig(t, session, world, nil)
	r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if seen := up.seen(); !strings.Contains(seen, "X-Goog-Api-Key: "+canary+"\r\n") || strings.Contains(seen, "Authorization") {
		t.Errorf("upstream saw\n%s", seen)
	}
}

// TestC4CredentialRefused: what is refused, by status and reason, over both
// protocols; nothing of it reaches an upstream.
func TestC4CredentialRefused(t *testing.T) {
	quarter := len(placeholder) / 4
	for _, c := range []struct {
		name   string
		call   call
		status int
		reason audit.Reason
	}{
		{"C2 unbound host", call{url: "https://" + openHost + "/", header: one("Authorization", "Bearer "+placeholder)}, 403, audit.ReasonUnbound},
		{"C2 other host's header", call{url: "https://" + gitHost + "/", header: one("X-Api-Key", placeholder)}, 403, audit.ReasonUnbound},
		{"C2 undeclared position", call{url: "https://" + apiHost + "/", header: one("Authorization", "token "+placeholder)}, 403, audit.ReasonMisplaced},
		{"C2 other header", call{url: "https://" + apiHost + "/", header: one("X-Custom", "a"+placeholder)}, 403, audit.ReasonMisplaced},
		{"C2 basic where none is declared", call{url: "https://" + apiHost + "/", header: one("Authorization", basic("x", placeholder))}, 403, audit.ReasonMisplaced},
		{"C2 basic at an unbound host", call{url: "https://" + openHost + "/", header: one("Authorization", basic(placeholder, ""))}, 403, audit.ReasonUnbound},
		{"C2 query", call{url: "https://" + apiHost + "/?key=" + placeholder}, 403, audit.ReasonMisplaced},
		{"C2 encoded in the query", call{url: "https://" + openHost + "/?x=%73" + placeholder[1:]}, 403, audit.ReasonUnbound},
		{"C2 path", call{url: "https://" + openHost + "/" + placeholder + "/x"}, 403, audit.ReasonUnbound},
		{"C2 cookie", call{url: "https://" + apiHost + "/", header: one("Cookie", "a=1; k="+placeholder)}, 403, audit.ReasonMisplaced},
		{"C2 proxy-authorization", call{url: "https://" + apiHost + "/", header: one("Proxy-Authorization", "Bearer "+placeholder)}, 403, audit.ReasonMisplaced},
		{"C3 duplicate", call{url: "https://" + apiHost + "/", header: http.Header{"Authorization": {"Bearer mine", "Bearer " + placeholder}}}, 400, audit.ReasonDuplicateCredential},
		{"C3 duplicate, ours first", call{url: "https://" + apiHost + "/", header: http.Header{"Authorization": {"Bearer " + placeholder, "Bearer mine"}}}, 400, audit.ReasonDuplicateCredential},
		{"C3 twice the same", call{url: "https://" + apiHost + "/", header: http.Header{"X-Api-Key": {placeholder, placeholder}}}, 400, audit.ReasonDuplicateCredential},
		{"C3 comma", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder+", Bearer x")}, 403, audit.ReasonMisplaced},
		{"C3 underscore", call{url: "https://" + apiHost + "/", header: http.Header{"X_api_key": {placeholder}}}, 400, audit.ReasonBadHeader},
		{"C3 underscore beside ours", call{url: "https://" + apiHost + "/", header: http.Header{"X_api_key": {"x"}, "X-Api-Key": {placeholder}}}, 400, audit.ReasonBadHeader},
		{"C3 ours and another's", call{url: "https://" + apiHost + "/", header: http.Header{"X-Api-Key": {placeholder}, "Authorization": {"Bearer mine"}}}, 403, audit.ReasonDuplicateCredential},
		{"C4 header", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer sk-attacker")}, 403, audit.ReasonForeignCredential},
		{"C4 basic", call{url: "https://" + gitHost + "/", header: one("Authorization", basic("x", "ghp_attacker"))}, 403, audit.ReasonForeignCredential},
		{"C4 other header", call{url: "https://" + gitHost + "/", header: one("Private-Token", "attacker")}, 403, audit.ReasonForeignCredential},
		{"C4 query", call{url: "https://" + apiHost + "/?a=1&API_key=attacker"}, 403, audit.ReasonForeignCredential},
		{"C4 query name encoded", call{url: "https://" + apiHost + "/?%6bey=attacker"}, 403, audit.ReasonForeignCredential},
		{"C4 cookie", call{url: "https://" + gitHost + "/", header: one("Cookie", "session=attacker")}, 403, audit.ReasonForeignCredential},
		{"C4 at a host without a credential", call{url: "https://" + openHost + "/", header: one("Authorization", "Bearer attacker")}, 403, audit.ReasonForeignCredential},
		{"C5 part", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder[quarter:])}, 403, audit.ReasonForeignCredential},
		{"C5 prefix", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder[:3*quarter])}, 403, audit.ReasonForeignCredential},
		{"C5 longer", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder+"x")}, 403, audit.ReasonMisplaced},
		{"C5 case", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+strings.ToUpper(placeholder))}, 403, audit.ReasonForeignCredential},
		{"C5 base64", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(placeholder)))}, 403, audit.ReasonForeignCredential},
		{"C5 two spaces", call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer  "+placeholder)}, 403, audit.ReasonMisplaced},
		{"C6 user-agent", call{url: "https://" + apiHost + "/", header: one("User-Agent", placeholder)}, 403, audit.ReasonMisplaced},
		{"C6 referer", call{url: "https://" + openHost + "/", header: one("Referer", "https://x/"+placeholder)}, 403, audit.ReasonUnbound},
		{"bare", call{url: "https://" + apiHost + "/"}, 401, audit.ReasonNoCredential},
		{"bare write where reads pass", call{url: "https://" + gitHost + "/", method: "POST", body: "x"}, 401, audit.ReasonNoCredential},
		{"write at a host without a credential", call{url: "https://" + openHost + "/", method: "POST", body: "x"}, 403, audit.ReasonMethodNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up, _ := newWorld(t)
				resp, body := r.do(r.client(h2), c.call)
				if reason := r.refusedPage(body, 1); resp.StatusCode != c.status || reason != string(c.reason) {
					t.Errorf("refused with %d %s, not %d %s", resp.StatusCode, reason, c.status, c.reason)
				}
				if rec := r.sink.last(1); rec.Verdict != audit.Deny || rec.Status != c.status {
					t.Errorf("record %+v", rec)
				}
				if up.connections() != 0 {
					t.Errorf("upstream was dialled and saw\n%s", up.seen())
				}
			})
		})
	}
}

// TestBareChallenge: a client that asks first without a credential is told how
// to, as the provider would.
func TestBareChallenge(t *testing.T) {
	r, _, _ := newWorld(t)
	resp, _ := r.do(r.client(false), call{url: "https://" + gitHost + "/x", method: "POST", body: "x"})
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != `Basic realm="github.test"` {
		t.Errorf("%d, challenge %q", resp.StatusCode, got)
	}
}

// TestAnonymousRead: bare reads pass where the policy says so, and carry
// nothing.
func TestAnonymousRead(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		resp, _ := r.do(r.client(h2), call{url: "https://" + gitHost + "/x"})
		if resp.StatusCode != 200 || strings.Contains(up.seen(), "Authorization") {
			t.Errorf("%d, upstream saw\n%s", resp.StatusCode, up.seen())
		}
	})
}

// TestC2Plaintext: no credential over plain HTTP.
func TestC2Plaintext(t *testing.T) {
	r, _, plain := newWorld(t)
	resp, body := r.do(r.client(false), call{url: "http://" + plainHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	if reason := r.refusedPage(body, 1); resp.StatusCode != 403 || reason != string(audit.ReasonPlaintext) {
		t.Errorf("%d %s", resp.StatusCode, reason)
	}
	resp, body = r.do(r.client(false), call{url: "http://" + plainHost + "/a?b"})
	if resp.StatusCode != 200 || body != "ok" || !strings.HasPrefix(plain.seen(), "GET /a?b HTTP/1.1\r\nHost: "+plainHost+"\r\n") {
		t.Errorf("%d %q, upstream saw\n%s", resp.StatusCode, body, plain.seen())
	}
}

// TestC6Body: a placeholder in a body passes as it is.
func TestC6Body(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		r.do(r.client(h2), call{url: "https://" + apiHost + "/", method: "POST", body: `{"key":"` + placeholder + `"}`,
			header: one("Authorization", "Bearer "+placeholder)})
		body, _ := io.ReadAll(up.last(t).Body)
		if string(body) != `{"key":"`+placeholder+`"}` {
			t.Errorf("body %q", body)
		}
	})
}

// TestC8Redirect: a redirect is the agent's to follow.
func TestC8Redirect(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		up.respond = func(*http.Request) string {
			return "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n"
		}
		resp, _ := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		if resp.StatusCode != 307 || resp.Header.Get("Location") != "https://evil.test/" || up.count() != 1 {
			t.Errorf("%d %v, %d requests", resp.StatusCode, resp.Header, up.count())
		}
	})
}

// TestCookies: what a host set in this session goes back to it, anything else
// is dropped.
func TestCookies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		up.respond = func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nSet-Cookie: sid=42; Path=/; Secure\r\nContent-Length: 0\r\n\r\n"
		}
		auth := one("Authorization", "Bearer "+placeholder)
		client := r.client(h2)
		r.do(client, call{url: "https://" + apiHost + "/", header: auth})
		auth["Cookie"] = []string{"sid=42; sid=43; other=1"}
		r.do(client, call{url: "https://" + apiHost + "/", header: auth})
		if got := up.last(t).Header["Cookie"]; len(got) != 1 || got[0] != "sid=42" {
			t.Errorf("upstream got the cookies %q", got)
		}
		r.do(client, call{url: "https://" + openHost + "/", header: one("Cookie", "sid=42")})
		if got := up.last(t).Header["Cookie"]; len(got) != 0 {
			t.Errorf("another host got the cookies %q", got)
		}
	})
}

// What cookies take is a session's bound, however many hosts a wildcard has: one
// more is not remembered, those before it are.
func TestCookiesAreBounded(t *testing.T) {
	c := newCookies()
	host := func(n int) string { return strconv.Itoa(n) + ".wide.test" }
	for n := range maxCookies + 1 {
		c.learn(host(n), one("Set-Cookie", "sid=42"))
	}
	for n, foreign := range map[int]bool{0: false, maxCookies - 1: false, maxCookies: true} {
		if got := c.filter(host(n), one("Cookie", "sid=42"), func(string) bool { return false }); got != foreign {
			t.Errorf("of host %d: foreign %t", n, got)
		}
	}
	if n := len(c.known); n != maxCookies {
		t.Errorf("%d are held", n)
	}
}
