// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// BenchmarkPosts: 16 KiB of JSON, where no body can have a credential, where
// one can and this one's type says that it does not, and where it is held.
func BenchmarkPosts(b *testing.B) {
	field := position(policy.PositionJSON, "/k")
	bearer := position(policy.PositionBearer, "")
	body := append(append([]byte(`{"text":"`), bytes.Repeat([]byte("x"), 16<<10)...), `"}`...)
	for _, c := range []struct {
		name, kind string
		positions  []policy.Position
	}{
		{"head", jsonType, []policy.Position{bearer}},
		{"other type", "application/octet-stream", []policy.Position{bearer, field}},
		{"held", jsonType, []policy.Position{bearer, field}},
	} {
		b.Run(c.name, func(b *testing.B) {
			world := newAuthority(b)
			up := newHandlerUpstream(b, world, false, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
			session := testSession(up.Listener.Addr().String(), "127.0.0.1:1")
			session.Credentials[0].Positions = c.positions
			client := newRig(b, session, world, nil).client(false)
			b.ReportAllocs()
			var list []time.Duration
			for b.Loop() {
				start := time.Now()
				req, err := http.NewRequest("POST", "https://"+apiHost+"/", bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header = http.Header{"Content-Type": {c.kind}, "Authorization": {"Bearer " + placeholder}}
				resp, err := client.Transport.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp, err)
				}
				resp.Body.Close()
				list = append(list, time.Since(start))
			}
			b.ReportMetric(float64(percentile(list, 0.5).Microseconds()), "p50-µs")
		})
	}
}
