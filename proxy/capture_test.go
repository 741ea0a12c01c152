// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// The values that the tests' endpoints hand out. They contain the canaries, so
// that the oracle of every rig finds them.
const (
	accessToken  = canary + "-access-1"
	refreshToken = canary + "-refresh-1"
	freshAccess  = canary + "-access-2"
	freshRefresh = canary + "-refresh-2"
)

func bodyAnswer(media, text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", media, len(text), text)
}

func tokenAnswer(access, refresh string) string {
	return bodyAnswer("application/json", fmt.Sprintf(`{"access_token": %q,"token_type":"bearer", "expires_in":3600,"refresh_token":%q}`, access, refresh))
}

// newCaptureRig is a session whose upstream answers endpoints with answer and
// everything else with ok.
func newCaptureRig(t *testing.T, answer func(*http.Request) string, change func(*policy.Session)) (*rig, *recorder) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	up.respond = answer
	session := testSession(up.address(), up.address())
	if change != nil {
		change(session)
	}
	return newRig(t, session, world, nil), up
}

const tokenURL = "https://" + apiHost + "/v1/oauth/token"

var (
	asHolder = one("Authorization", "Bearer "+placeholder)
	asForm   = http.Header{"Authorization": {"Bearer " + placeholder}, "Content-Type": {"application/x-www-form-urlencoded"}}
)

// tokens reads what the agent got.
func tokens(t *testing.T, body string) (access, refresh string) {
	t.Helper()
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Type    string `json:"token_type"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Type != "bearer" || got.Expires != 3600 {
		t.Fatalf("%q: %v", body, err)
	}
	return got.Access, got.Refresh
}

// TestC10Captured: the agent gets placeholders, and they work where the values
// would: the access token as a bearer, the refresh token at the endpoint, for
// which the agent gets the next pair.
func TestC10Captured(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newCaptureRig(t, func(req *http.Request) string {
			switch {
			case req.URL.Path != "/v1/oauth/token":
				return bodyAnswer("text/plain", "you sent "+req.Header.Get("Authorization"))
			case req.FormValue("grant_type") == "refresh_token" && req.FormValue("refresh_token") == refreshToken:
				return tokenAnswer(freshAccess, freshRefresh)
			case req.FormValue("grant_type") == "code":
				return tokenAnswer(accessToken, refreshToken)
			}
			return bodyAnswer("application/json", `{"error":"invalid_grant"}`)
		}, nil)
		client := r.client(h2)
		_, body := r.do(client, call{method: "POST", url: tokenURL, body: "grant_type=code", header: asForm})
		access, refresh := tokens(t, body)
		if len(access) != len(accessToken) || access == refresh {
			t.Fatalf("%q, %q", access, refresh)
		}
		resp, body := r.do(client, call{url: "https://" + apiHost + "/v1/me", header: one("Authorization", "Bearer "+access)})
		if resp.StatusCode != 200 || body != "you sent Bearer "+access || !strings.Contains(up.seen(), "Bearer "+accessToken+"\r\n") {
			t.Errorf("the access token: %d %q", resp.StatusCode, body)
		}
		if rec := r.sink.last(2); rec.Credential != "openai.access_token" || rec.Position != "bearer" {
			t.Errorf("record %+v", rec)
		}
		form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		_, body = r.do(client, call{method: "POST", url: tokenURL, body: "grant_type=refresh_token&refresh_token=" + refresh, header: form})
		access2, refresh2 := tokens(t, body)
		if access2 == access || refresh2 == refresh {
			t.Error("the same placeholder for another value")
		}
		// The one that was traded in is nothing any more.
		resp, _ = r.do(client, call{method: "POST", url: tokenURL, body: "grant_type=refresh_token&refresh_token=" + refresh, header: form})
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("traded in: %d", resp.StatusCode)
		}
		resp, _ = r.do(client, call{url: "https://" + apiHost + "/v1/me", header: one("Authorization", "Bearer "+access)})
		if resp.StatusCode != 200 {
			t.Errorf("the first access token, which has not ended: %d", resp.StatusCode)
		}
	})
}

// TestC12RemovedWithWhatItWasTradedInFor: a credential that is removed takes
// along what its endpoint handed out, and nothing else.
func TestC12RemovedWithWhatItWasTradedInFor(t *testing.T) {
	r, up := newCaptureRig(t, func(req *http.Request) string {
		if req.URL.Path == "/v1/oauth/token" {
			return tokenAnswer(accessToken, refreshToken)
		}
		return bodyAnswer("text/plain", "ok")
	}, nil)
	client := r.client(false)
	_, body := r.do(client, call{method: "POST", url: tokenURL, body: "grant_type=code", header: asForm})
	access, _ := tokens(t, body)
	use := func(header http.Header) int {
		resp, _ := r.do(client, call{url: "https://" + apiHost + "/v1/me", header: header})
		return resp.StatusCode
	}
	r.server.group.Revoke([]string{"github", "open"})
	if status := use(one("Authorization", "Bearer "+access)); status != 200 {
		t.Errorf("after others were removed: %d", status)
	}
	before := up.count()
	r.server.group.Revoke([]string{"openai"})
	// Whoever had the token gets itself another one, as after its end.
	itself, token := use(asHolder), use(one("Authorization", "Bearer "+access))
	if itself != 502 || token != 401 || up.count() != before {
		t.Errorf("%d, and the token %d; %d requests upstream", itself, token, up.count()-before)
	}
}

// TestC10RefreshInJSON: as Claude Code and Codex send it.
func TestC10RefreshInJSON(t *testing.T) {
	r, up := newCaptureRig(t, func(*http.Request) string { return tokenAnswer(accessToken, refreshToken) }, nil)
	client := r.client(false)
	_, body := r.do(client, call{method: "POST", url: tokenURL, body: "grant_type=code", header: asForm})
	_, refresh := tokens(t, body)
	asJSON := http.Header{"Content-Type": {"application/json"}}
	_, body = r.do(client, call{method: "POST", url: tokenURL, body: `{"grant_type":"refresh_token","refresh_token":"` + refresh + `"}`, header: asJSON})
	if !strings.Contains(up.seen(), `"refresh_token":"`+refreshToken+`"`) {
		t.Errorf("upstream saw %s", up.seen())
	}
	// An upstream that hands out the same values again: the same placeholders.
	if _, again := tokens(t, body); again != refresh {
		t.Errorf("%q, then %q", refresh, again)
	}
}

// TestC10Forms: each form an answer may have.
func TestC10Forms(t *testing.T) {
	sts := func(s *policy.Session) {
		s.Credentials[0].Captures = []policy.Capture{{Path: "/sts", Secrets: []policy.CapturedSecret{
			{Field: "SecretAccessKey", Positions: []policy.Position{}},
			{Field: "SessionToken", Positions: []policy.Position{{Kind: policy.PositionHeader, Name: "x-amz-security-token"}}},
		}}}
	}
	oauth, chunked := "/oauth/token", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n"
	for name, c := range map[string]struct {
		path, answer, want string
		change             func(*policy.Session)
	}{
		"form": {oauth, bodyAnswer("application/x-www-form-urlencoded; charset=utf-8", "access_token="+accessToken+"&scope=&token_type=bearer"),
			"access_token=*&scope=&token_type=bearer", nil},
		"gzip": {oauth, gzipAnswer(t, "application/json", `{"access_token":"`+accessToken+`"}`), `{"access_token":"*"}`, nil},
		"chunked": {oauth, chunked + "\r\n9\r\n{\"access_\r\n" + fmt.Sprintf("%x\r\ntoken\":\"%s\"}\r\n0\r\nX-T: %s\r\n\r\n", len(accessToken)+10, accessToken, accessToken),
			`{"access_token":"*"}`, nil},
		"also elsewhere": {oauth, bodyAnswer("application/json", `{"note":"`+accessToken+`","access_token":"`+accessToken+`"}`),
			`{"note":"*","access_token":"*"}`, nil},
		"in another case": {oauth, bodyAnswer("application/json", `{"Access_Token":"`+accessToken+`"}`), `{"Access_Token":"*"}`, nil},
		"nested":          {oauth, bodyAnswer("application/json", `{"a":[{"access_token":"`+accessToken+`"}],"n":null}`), `{"a":[{"access_token":"*"}],"n":null}`, nil},
		"an error":        {oauth, strings.Replace(bodyAnswer("application/json", `{"error":"slow_down"}`), "200 OK", "400 Bad Request", 1), `{"error":"slow_down"}`, nil},
		"nothing":         {oauth, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", nil},
		"device":          {"/oauth/device/code", bodyAnswer("application/json", `{"device_code":"`+accessToken+`","user_code":"WDJB-MJHT"}`), `{"device_code":"*","user_code":"WDJB-MJHT"}`, nil},
		"xml": {"/sts", bodyAnswer("text/xml", "<R xmlns='x'><C><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>"+accessToken+"</SecretAccessKey><SessionToken>\n"+refreshToken+"</SessionToken></C></R>"),
			"<R xmlns='x'><C><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>*</SecretAccessKey><SessionToken>\n*</SessionToken></C></R>", sts},
		"sts as json": {"/sts", bodyAnswer("application/json", `{"C":{"SecretAccessKey":"`+accessToken+`","SessionToken":"`+refreshToken+`"}}`),
			`{"C":{"SecretAccessKey":"*","SessionToken":"*"}}`, sts},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newCaptureRig(t, func(*http.Request) string { return c.answer }, c.change)
			resp, body := r.do(r.client(false), call{method: "POST", url: "https://" + apiHost + c.path, header: asHolder})
			parts := strings.Split(c.want, "*")
			at := 0
			for i, part := range parts { // what stands between the placeholders is as it was
				if i > 0 {
					at += len(accessToken)
					if strings.Contains(c.want, "SessionToken") && i == 2 {
						at += len(refreshToken) - len(accessToken)
					}
				}
				if !strings.HasPrefix(body[min(at, len(body)):], part) {
					t.Fatalf("%d %q", resp.StatusCode, body)
				}
				at += len(part)
			}
			if at != len(body) || resp.Header.Get("Content-Encoding") != "" || len(resp.Trailer) > 0 && resp.Trailer.Get("X-T") != "" {
				t.Errorf("%q, %v %v", body, resp.Header, resp.Trailer)
			}
		})
	}
}

func gzipAnswer(t *testing.T, media, text string) string {
	packed := gzipped(t, text)
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", media, len(packed), packed)
}

// TestC10Blocked: an answer that cannot be taken apart reaches nobody.
func TestC10Blocked(t *testing.T) {
	long := `{"access_token":"` + accessToken + `","x":"` + strings.Repeat("a", maxAnswer) + `"}`
	for name, answer := range map[string]string{
		"html":            bodyAnswer("text/html", "<p>"+accessToken+"</p>"),
		"html as json":    bodyAnswer("application/json", "<p>"+accessToken+"</p>"),
		"text":            bodyAnswer("text/plain", "access_token: "+accessToken),
		"two types":       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\na=b",
		"cut short":       "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n" + `{"access_token":"` + accessToken + `"}`,
		"too long":        bodyAnswer("application/json", long),
		"a bomb":          gzipAnswer(t, "application/json", long),
		"unknown coding":  strings.Replace(bodyAnswer("application/json", `{"access_token":"`+accessToken+`"}`), "Content-Type", "Content-Encoding: zip\r\nContent-Type", 1),
		"not declared":    bodyAnswer("application/json", `{"access_token":"`+accessToken+`","client_secret":"`+refreshToken+`"}`),
		"an object":       bodyAnswer("application/json", `{"access_token":{"v":"`+accessToken+`"}}`),
		"a number":        bodyAnswer("application/json", `{"access_token":1234567890123456789}`),
		"too short":       bodyAnswer("application/json", `{"access_token":"short"}`),
		"a line break":    bodyAnswer("application/json", `{"access_token":"`+accessToken+`\n"}`),
		"an error's page": strings.Replace(bodyAnswer("text/html", accessToken), "200 OK", "500 Internal Server Error", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newCaptureRig(t, func(*http.Request) string { return answer }, nil)
			resp, body := r.do(r.client(false), call{method: "POST", url: tokenURL, header: asHolder})
			if resp.StatusCode != http.StatusBadGateway || r.refusedPage(body, 1) != string(audit.ReasonBadResponse) {
				t.Errorf("%d %q", resp.StatusCode, body)
			}
			// None of its values is held, the good ones neither.
			if n := len(r.server.current.Load().credentials.Load().Credentials()); n != 2 {
				t.Errorf("%d credentials", n)
			}
		})
	}
}

// TestC10Disguised: however the path is written that a server may take for the
// endpoint's.
func TestC10Disguised(t *testing.T) {
	for _, path := range []string{
		"/oauth/token", "/oauth/token/", "/oauth//token", "//oauth/token", "/OAuth/Token", "/oauth/%74oken", "/oauth/%2574oken",
		"/oauth%2Ftoken", "/x/../oauth/token", "/./oauth/token", "/oauth;v=1/token;x", "/oauth%5ctoken", "/oauth/token%20", "/api/oauth/token?x=/y",
	} {
		t.Run(path, func(t *testing.T) {
			r, up := newCaptureRig(t, func(*http.Request) string { return tokenAnswer(accessToken, refreshToken) }, nil)
			resp, body := r.do(r.client(false), call{method: "PUT", url: "https://" + apiHost + path, header: asHolder})
			if resp.StatusCode != 200 || up.count() != 1 {
				t.Fatalf("%d %q", resp.StatusCode, body)
			}
			if access, refresh := tokens(t, body); access == "" || refresh == "" {
				t.Errorf("%q", body)
			}
		})
	}
}

// TestC10Elsewhere: a placeholder counts where its value may be used, in this
// session, and nowhere else.
func TestC10Elsewhere(t *testing.T) {
	answer := func(*http.Request) string { return tokenAnswer(accessToken, refreshToken) }
	r, up := newCaptureRig(t, answer, nil)
	_, body := r.do(r.client(false), call{method: "POST", url: tokenURL, header: asHolder})
	access, refresh := tokens(t, body)
	other, _ := newCaptureRig(t, answer, nil)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for name, c := range map[string]struct {
		r      *rig
		call   call
		status int
	}{
		"another session":           {other, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+access)}, 403},
		"another host":              {r, call{url: "https://" + gitHost + "/", header: one("Authorization", "Bearer "+access)}, 403},
		"a host without credential": {r, call{url: "https://" + openHost + "/?t=" + access}, 403},
		"another position":          {r, call{url: "https://" + apiHost + "/?t=" + access, header: asHolder}, 403},
		"refresh as a bearer":       {r, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+refresh)}, 403},
		"access as refresh":         {r, call{method: "POST", url: tokenURL, body: "refresh_token=" + access, header: form}, 403},
		"part":                      {r, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+access[:len(access)-1])}, 403},
		"somebody else's":           {r, call{method: "POST", url: tokenURL, body: "refresh_token=mine-mine-mine-mine-mine", header: form}, 403},
	} {
		before := up.count()
		if resp, body := c.r.do(c.r.client(false), c.call); resp.StatusCode != c.status || up.count() != before {
			t.Errorf("%s: %d %q", name, resp.StatusCode, body)
		}
	}
	// In a body that goes elsewhere it stays what it is.
	resp, _ := r.do(r.client(false), call{method: "POST", url: "https://" + apiHost + "/echo", body: "refresh_token=" + refresh, header: asForm})
	if seen := up.seen(); resp.StatusCode != 200 || !strings.HasSuffix(seen, "refresh_token="+refresh) {
		t.Errorf("%d, %q", resp.StatusCode, seen)
	}
}

// TestC10Ended: 401, so that a client gets itself another.
func TestC10Ended(t *testing.T) {
	r, up := newCaptureRig(t, func(*http.Request) string {
		return bodyAnswer("application/json", `{"access_token":"`+accessToken+`","expires_in":0,"refresh_token":"`+refreshToken+`"}`)
	}, nil)
	client := r.client(false)
	_, body := r.do(client, call{method: "POST", url: tokenURL, header: asHolder})
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	resp, body := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+got["access_token"].(string))})
	if resp.StatusCode != 401 || r.refusedPage(body, 2) != string(audit.ReasonCredentialUnavailable) || up.count() != 1 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if got := resp.Header.Get("Www-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("challenge %q", got)
	}
	// The refresh token does not end with it.
	r.do(client, call{method: "POST", url: tokenURL, body: "refresh_token=" + got["refresh_token"].(string), header: asForm})
	if !strings.HasSuffix(up.seen(), "refresh_token="+refreshToken) {
		t.Errorf("upstream saw %q", up.seen())
	}
}

// TestC10Bounded: in number. What is held stays usable.
func TestC10Bounded(t *testing.T) {
	n := 0
	r, _ := newCaptureRig(t, func(req *http.Request) string {
		if !strings.HasSuffix(req.URL.Path, "/token") {
			return okAnswer
		}
		n++
		return bodyAnswer("application/json", fmt.Sprintf(`{"access_token":"%s-%04d"}`, canary, n))
	}, nil)
	client := r.client(false)
	var first string
	for i := range maxHeldValues + 1 {
		resp, body := r.do(client, call{method: "POST", url: tokenURL, header: asHolder})
		if want := 200; i == maxHeldValues {
			want = http.StatusBadGateway
			if resp.StatusCode != want {
				t.Errorf("number %d: %d", i+1, resp.StatusCode)
			}
		} else if resp.StatusCode != want {
			t.Fatalf("number %d: %d %q", i+1, resp.StatusCode, body)
		}
		if i == 0 {
			var got map[string]string
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			first = got["access_token"]
		}
	}
	if resp, _ := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+first)}); resp.StatusCode != 200 {
		t.Errorf("the first one: %d", resp.StatusCode)
	}
	// Those that have ended leave room, but answers are searched for them still.
	v := &r.server.vault
	v.mu.Lock()
	wipe(v.held)
	v.held, v.taken = nil, maxTaken-1
	v.mu.Unlock()
	for _, want := range []int{200, http.StatusBadGateway} {
		if resp, body := r.do(client, call{method: "POST", url: tokenURL, header: asHolder}); resp.StatusCode != want {
			t.Errorf("number %d of all: %d %q", maxTaken, resp.StatusCode, body)
		}
	}
}
