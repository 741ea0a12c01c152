// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

func TestWhatCarriesBytesIsAWrite(t *testing.T) {
	read := []Allow{{"GET", "*", "p:1"}, {"HEAD", "*", "p:1"}}
	rules := mustCompile(t, &Session{
		Egress: []Egress{
			{Host: "docs.test", Port: 443, Protocol: HTTPS, Allow: read, Rule: "p:1"},
			{Host: "open.test", Port: 443, Protocol: HTTPS, Allow: []Allow{{"*", "*", "p:2"}}, Rule: "p:2"},
		},
		Credentials: []Credential{{
			Name: "a", Source: "store:a", Hosts: []string{"api.test"}, Positions: []Position{{Kind: PositionBearer}},
			Allow: []Allow{{"GET", "/v1/realtime", "p:3"}}, Anonymous: AnonymousRead, Rule: "p:3",
		}},
		Limits: defaultLimits,
	})
	credential := rules.Connect("api.test", 443).Credentials[0]
	for _, test := range []struct {
		name    string
		request Request
		allow   bool
	}{
		{"a read", Request{Host: "docs.test", Method: "GET"}, true},
		{"a read that carries", Request{Host: "docs.test", Method: "GET", Carries: true}, false},
		{"where writes may", Request{Host: "open.test", Method: "GET", Carries: true}, true},
		{"anonymous read", Request{Host: "api.test", Method: "GET"}, true},
		{"anonymous read that carries", Request{Host: "api.test", Method: "GET", Carries: true}, false},
		{"with the credential, as its rule says", Request{Host: "api.test", Method: "GET", Carries: true, Credential: credential}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.request.Port, test.request.Path = 443, "/v1/realtime"
			if v := rules.Request(test.request); v.Allow != test.allow {
				t.Errorf("got %+v", v)
			}
		})
	}
}
