// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"errors"
	"net/http"
	"testing"
)

// TestSchemes: GitHub's documentation has the first example, with its HMAC;
// Slack's the second.
func TestSchemes(t *testing.T) {
	for name, c := range map[string]struct {
		scheme, secret, value string
		header                http.Header
		body                  string
	}{
		"GitHub": {"X-Hub-Signature-256: sha256={hex}", "It's a Secret to Everybody",
			"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", nil, "Hello, World!"},
		"Slack": {"X-Slack-Signature: v0={hex} over v0:{header X-Slack-Request-Timestamp}:{body}", "8f742231b10e8888abcd99yyyzzz85a5",
			"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", http.Header{"X-Slack-Request-Timestamp": {"1531420618"}},
			"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseScheme(c.scheme)
			if err != nil {
				t.Fatal(err)
			}
			claim, ok := s.Read(c.value)
			r := &Request{Header: c.header, Content: []byte(c.body)}
			if !ok || !claim.Made([]byte(c.secret), r) || claim.Made([]byte("another"), r) {
				t.Errorf("%v: the documented HMAC is not taken, or any is", ok)
			}
		})
	}
}

func TestClaimIsMadeAgain(t *testing.T) {
	for _, text := range []string{
		"Stripe-Signature: t={time},v1={hex} over {time}.{body}",
		"X-Sig: {base64} over {method} {host}{target}\n{body}",
		"X-Sig: a{hex}b",
	} {
		s, err := ParseScheme(text)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Method: "POST", Host: "h", Target: "/p?q", Header: http.Header{}, Content: []byte("body")}
		(&Claim{scheme: s, time: "1700000000"}).Again([]byte("placeholder"), r)
		value := r.Header.Get(s.Field)
		claim, ok := s.Read(value)
		if !ok || !claim.Made([]byte("placeholder"), r) {
			t.Fatalf("%s: %q", text, value)
		}
		claim.Again([]byte("real"), r)
		again, ok := s.Read(r.Header.Get(s.Field))
		if !ok || !again.Made([]byte("real"), r) || again.Made([]byte("placeholder"), r) || again.time != claim.time {
			t.Errorf("%s: %q", text, r.Header)
		}
		for _, bad := range []string{"", value + "x", value[1:], "x" + value, value[:len(value)-1]} {
			if _, ok := s.Read(bad); ok {
				t.Errorf("%s: %q is read", text, bad)
			}
		}
	}
}

func TestBadSchemes(t *testing.T) {
	for _, text := range []string{
		"", "X-Sig", "X-Sig: ", "X-Sig: plain", "X-Sig: {hex}{base64}", "X-Sig: {hex}{hex}", "X-Sig: {md5}", "X-Sig: {hex",
		"X-Sig: {hex} over {time}", "X-Sig: {hex} over {header}", "X-Sig: {hex} over {secret}", "X Sig: {hex}", "X-Sig: {hex}}", ": {hex}",
	} {
		if _, err := ParseScheme(text); !errors.Is(err, ErrScheme) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
