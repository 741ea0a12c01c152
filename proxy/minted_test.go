// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// endpointHost is one that the proxy alone may ask.
const endpointHost = "token.test"

// askEndpoint is an exchange that takes the endpoint's answer as it is.
func askEndpoint(ctx context.Context, up mint.Upstream) (mint.Token, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+endpointHost+"/token", strings.NewReader("grant"))
	if err != nil {
		return mint.Token{}, err
	}
	resp, err := up.Do(req)
	if err != nil {
		return mint.Token{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New("refused")
	}
	if err != nil {
		return mint.Token{}, err
	}
	value, err := secret.New(bytes.TrimSpace(text))
	return mint.Token{Value: value, Expires: time.Now().Add(time.Hour)}, err
}

// newMintedRig is a session whose credential is exchanged at endpointHost.
func newMintedRig(t *testing.T, token func() string) (r *rig, up, endpoint *recorder) {
	world := newAuthority(t)
	up, endpoint = newRecorder(t, world, nil), newRecorder(t, world, nil)
	endpoint.respond = func(*http.Request) string { return token() }
	session := testSession(up.address(), up.address())
	session.Endpoints = []string{endpointHost}
	session.Hosts = append(session.Hosts, policy.HostTarget{Host: endpointHost, Connect: endpoint.address(), Rule: "test:9"})
	r = newRig(t, session, world, func(c *Config) {
		m := mint.New(askEndpoint)
		c.Credentials = swap.New([]swap.Credential{{Policy: &session.Credentials[0], Placeholder: placeholder, Value: m.Cell(), Minter: m}})
	})
	return r, up, endpoint
}

func answerOf(status, text string) string {
	return "HTTP/1.1 " + status + "\r\nConnection: close\r\n\r\n" + text
}

// TestMinted: what is exchanged goes upstream, once asked for by however many,
// and is searched for in answers, the first one included.
func TestMinted(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, endpoint := newMintedRig(t, func() string { return answerOf("200 OK", canary) })
		up.respond = func(*http.Request) string { return answerOf("200 OK", "echo "+canary) }
		client := r.client(h2)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				resp, body := r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
				if resp.StatusCode != 200 || body != "echo "+placeholder {
					t.Errorf("%d %q", resp.StatusCode, body)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(up.seen(), "Authorization: Bearer "+canary+"\r\n"); n != 8 {
			t.Errorf("%d requests carried it", n)
		}
		if endpoint.count() != 1 {
			t.Errorf("%d exchanges", endpoint.count())
		}
	})
}

// TestMintedRefused: without a value nothing goes upstream, and the agent is
// told so; what the endpoint said is told to nobody.
func TestMintedRefused(t *testing.T) {
	for name, token := range map[string]string{
		"refused":   answerOf("401 Unauthorized", canary),
		"empty":     answerOf("200 OK", ""),
		"too short": answerOf("200 OK", "short"),
		"no answer": "Connection: close",
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newMintedRig(t, func() string { return token })
			resp, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if resp.StatusCode != http.StatusBadGateway || up.count() != 0 {
				t.Errorf("%d %q, %d requests", resp.StatusCode, body, up.count())
			}
			if rec := r.sink.last(1); rec.Reason != audit.ReasonCredentialUnavailable || rec.Verdict != audit.Deny {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestEndpointIsNotTheAgents: a host that the proxy asks is no way out.
func TestEndpointIsNotTheAgents(t *testing.T) {
	session := testSession("127.0.0.1:1", "127.0.0.1:1")
	session.Endpoints = []string{endpointHost}
	rules, err := policy.Compile(session)
	if err != nil {
		t.Fatal(err)
	}
	if rules.Name(endpointHost) || rules.Connect(endpointHost, 443).Allow {
		t.Error("the agent reaches it")
	}
	if rules.Target(endpointHost, 443).Connect != endpointHost+":443" || rules.Target(endpointHost, 80).Connect != "" {
		t.Errorf("%+v", rules.Target(endpointHost, 443))
	}
	for _, bad := range []string{"*.token.test", "Token.test", ""} {
		session.Endpoints = []string{bad}
		if _, err := policy.Compile(session); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}
