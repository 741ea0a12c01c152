// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// providerSession is a session with the credential of one provider, as a policy
// that names nothing else would make it, for the tests' host.
func providerSession(t *testing.T, name, at string) *policy.Session {
	t.Helper()
	file, err := policy.Parse("test.yaml", []byte("version: 1\ncredentials: {"+name+": {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := policy.Resolve(file, policy.Flags{}, func(string) ([]string, string, bool) { return []string{apiHost}, name, true })
	if err != nil {
		t.Fatal(err)
	}
	session.Hosts = []policy.HostTarget{{Host: apiHost, Connect: at, Rule: "test:1"}}
	return session
}

// in puts text where position p says, over HTTP/1.1, as a client would.
func in(p policy.Position, text string) string {
	method, target, field, kind, body := "GET", "/v1/x?a=%7e", "", "", ""
	switch p.Kind {
	case policy.PositionBearer:
		field = "Authorization: Bearer " + text
	case policy.PositionToken:
		field = "Authorization: token " + text
	case policy.PositionScheme:
		field = "Authorization: " + p.Name + " " + text
	case policy.PositionBasic:
		pair := "user:" + text
		if p.Name == policy.BasicUsername {
			pair = text + ":password"
		}
		field = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case policy.PositionHeader:
		field = http.CanonicalHeaderKey(p.Name) + ": " + text
	case policy.PositionQuery:
		target = "/v1/x?a=%7e&" + p.Name + "=" + text + "&b"
	case policy.PositionPath:
		target = "/v1/" + p.Name + text + "/x"
	case policy.PositionCookie:
		field = "Cookie: " + p.Name + "=" + text
	case policy.PositionForm:
		method, kind, body = "POST", formType, "a=%7e&"+p.Name+"="+text+"&b"
	case policy.PositionJSON:
		method, kind, body = "POST", jsonType, `{"a" : 1, "`+p.Name[1:]+`": "`+text+`"}`
	case policy.PositionSubprotocol:
		field = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-Websocket-Protocol: a, b." + text
	}
	head := method + " " + target + " HTTP/1.1\r\nHost: " + apiHost + "\r\n"
	if field != "" {
		head += field + "\r\n"
	}
	if kind != "" {
		head += fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", kind, len(body))
	}
	return head + "\r\n" + body
}

// upstreamSaw reports whether request, sent as it is, could have been what the
// upstream saw: its target, its last field and its body.
func upstreamSaw(seen, request string) bool {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	if !strings.HasPrefix(seen, lines[0]+"\r\n") || !strings.HasSuffix(seen, "\r\n\r\n"+body) {
		return false
	}
	last := lines[len(lines)-1]
	return strings.HasPrefix(last, "Host: ") || strings.Contains(seen, "\r\n"+last+"\r\n")
}

// TestEveryProvider: in each position of each provider the placeholder becomes
// the real credential, and what the upstream sees is what it would have been
// sent by a client that holds it.
func TestEveryProvider(t *testing.T) {
	for _, p := range policy.Providers() {
		t.Run(p.Name, func(t *testing.T) {
			world, holder, real := newAuthority(t), placeholder, canary
			if p.Name == "github" { // the harness's second credential
				holder, real = otherHolder, otherCanary
			}
			for n, position := range p.Positions {
				if position.Kind == policy.PositionSigV4 || position.Kind == policy.PositionServiceAccount {
					continue // stand in no position: see TestC1SigV4, TestC1ServiceAccount
				}
				up := newRecorder(t, world, nil)
				up.respond = func(req *http.Request) string {
					if req.Header.Get("Upgrade") != "" {
						return switched + "\r\n"
					}
					return okAnswer
				}
				r := newRig(t, providerSession(t, p.Name, up.address()), world, nil)
				conn := r.dialTLS(apiHost, "http/1.1")
				io.WriteString(conn, in(position, holder))
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || resp.StatusCode != 200 && resp.StatusCode != 101 {
					t.Fatalf("%s: %v, %v", position, resp, err)
				}
				conn.Close()
				if seen := up.seen(); !upstreamSaw(seen, in(position, real)) || strings.Contains(seen, holder) {
					t.Errorf("%d, %s: upstream saw\n%s", n, position, seen)
				}
				if rec := r.sink.last(1); rec.Credential != p.Name || rec.Position != position.String() {
					t.Errorf("record %+v", rec)
				}
			}
		})
	}
}

// twoCredentials gives the second one the other placeholder and value.
func twoCredentials(t *testing.T, session *policy.Session) *swap.Set {
	t.Helper()
	list := credentials(t, session)
	value, err := secret.New([]byte(otherCanary))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(value.Wipe)
	list[1].Placeholder, list[1].Value = otherHolder, secret.NewCell(value)
	return swap.New(list)
}

// TestDatadogAndTwilio: providers whose clients send two credentials at once.
func TestDatadogAndTwilio(t *testing.T) {
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, c := range []struct {
		first, second string
		url           string
		header        func(first, second string) http.Header
	}{
		{"datadog", "datadog-app", "/api/v1/query", func(first, second string) http.Header {
			return http.Header{"Dd-Api-Key": {first}, "Dd-Application-Key": {second}}
		}},
		{"twilio", "twilio-account", "/2010-04-01/Accounts/%s/Messages.json", func(first, second string) http.Header {
			return one("Authorization", basic(second, first))
		}},
	} {
		t.Run(c.first, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				world := newAuthority(t)
				up := newRecorder(t, world, nil)
				session := providerSession(t, c.first, up.address())
				other := providerSession(t, c.second, up.address()).Credentials[0]
				r := newRig(t, session, world, func(config *Config) {
					both := &policy.Session{Credentials: []policy.Credential{session.Credentials[0], other}, Hosts: session.Hosts}
					rules, err := policy.Compile(both)
					if err != nil {
						t.Fatal(err)
					}
					config.Rules, config.Credentials = rules, twoCredentials(t, both)
				})
				target := func(id string) string {
					if strings.Contains(c.url, "%") {
						return fmt.Sprintf(c.url, id)
					}
					return c.url
				}
				resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + target(otherHolder), header: c.header(placeholder, otherHolder)})
				if resp.StatusCode != 200 {
					t.Fatalf("%d %s", resp.StatusCode, body)
				}
				req := up.last(t)
				for name, values := range c.header(canary, otherCanary) {
					if got := req.Header[name]; len(got) != 1 || got[0] != values[0] {
						t.Errorf("%s is %q", name, got)
					}
				}
				if req.RequestURI != target(otherCanary) {
					t.Errorf("target %s", req.RequestURI)
				}
			})
		})
	}
}
