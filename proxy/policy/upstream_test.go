// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUpstreamProxyIsRead(t *testing.T) {
	for text, want := range map[string]Upstream{
		`{proxy: "http://Proxy.Corp.test:3128"}`:                                     {Proxy: "proxy.corp.test:3128", Rule: "p.yaml:2"},
		`{proxy: "http://u:p%40%3A%2F%20x@10.0.0.1:8080"}`:                           {Proxy: "10.0.0.1:8080", User: "u", Password: "p@:/ x", Rule: "p.yaml:2"},
		`{proxy: "http://[fd00::1]:8080", user: "me@corp", password: "file:/etc/p"}`: {Proxy: "[fd00::1]:8080", User: "me@corp", From: "file:/etc/p", Rule: "p.yaml:2"},
	} {
		f, err := Parse("p.yaml", []byte("version: 1\nupstream: "+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, f.Upstream); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", text, diff)
		}
		if shown := fmt.Sprintf("%v %+v %#v %v", f.Upstream, f.Upstream, f.Upstream, &f.Upstream); want.Password != "" && strings.Contains(shown, want.Password) {
			t.Errorf("shown: %s", shown)
		}
		s, err := Resolve(f, Flags{}, nil)
		if err != nil || s.Proxy == nil || s.Proxy.Address != want.Proxy || s.Proxy.Password != (want.User != "") {
			t.Errorf("%s: session has %+v, %v", text, s.Proxy, err)
		}
		if data, _ := json.Marshal(s); want.Password != "" && strings.Contains(string(data), want.Password) {
			t.Errorf("the session holds the password: %s", data)
		}
	}
}
