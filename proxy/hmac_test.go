// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// TestC1HMAC: the HMAC of a webhook is the placeholder's inside and the real
// one's upstream; who does not have the placeholder sends none.
func TestC1HMAC(t *testing.T) {
	value := func(secret, body string) string {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte("1700000000." + body))
		return "t=1700000000,v1=" + hex.EncodeToString(h.Sum(nil))
	}
	hook := func(signature, body string) call {
		return call{method: "POST", url: "https://" + apiHost + "/hook", header: http.Header{"X-Sig": {signature}, "Content-Type": {"application/x-anything"}}, body: body}
	}
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newPositions(t, position(policy.PositionHMAC, "X-Sig: t={time},v1={hex} over {time}.{body}"))
		resp, body := r.do(r.client(h2), hook(value(placeholder, "event"), "event"))
		sent, _ := io.ReadAll(up.last(t).Body)
		if resp.StatusCode != 200 || up.last(t).Header.Get("X-Sig") != value(canary, "event") || string(sent) != "event" {
			t.Errorf("%d %s %v", resp.StatusCode, body, up.last(t).Header)
		}
		for name, c := range map[string]call{
			"another secret": hook(value("attacker's own secret", "event"), "event"),
			"another body":   hook(value(placeholder, "event"), "other"),
			"another form":   hook("sha256="+value(placeholder, "event"), "event"),
		} {
			if resp, body := r.do(r.client(h2), c); resp.StatusCode != 403 {
				t.Errorf("%s: %d %s", name, resp.StatusCode, body)
			}
		}
		r.sink.wait(4) // nothing is held by then
		if n := up.count(); n != 1 || r.server.holding.Load() != 0 {
			t.Errorf("%d requests arrived, %d bytes held", n, r.server.holding.Load())
		}
	})
}
