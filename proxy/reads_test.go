// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// TestReadsCarryNothing: at a host without a credential an upgrade or a body
// under GET is a write, whatever the method says.
func TestReadsCarryNothing(t *testing.T) {
	for name, request := range map[string]string{
		"websocket": strings.Replace(strings.Replace(handshake, apiHost, openHost, 1), auth, "", 1),
		"body":      "GET / HTTP/1.1\r\nHost: " + openHost + "\r\nContent-Length: 5\r\n\r\nwrite",
		"chunks":    "GET / HTTP/1.1\r\nHost: " + openHost + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrite\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			before := up.connections()
			resp, body := r.rawOn(r.dialTLS(openHost, "http/1.1"), request)
			if resp.StatusCode != 403 || up.connections() != before {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if rec := r.sink.last(1); rec.Reason != audit.ReasonMethodNotAllowed {
				t.Errorf("record %+v", rec)
			}
		})
	}
}
