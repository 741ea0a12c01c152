// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// rounds alternate between the two kinds, so that a change of the machine's mood falls on both.
const rounds = 8

// BenchmarkConnect measures connect() to the listener, one after the other, as the agent sees it: redirected by the
// hooks, and direct with the hooks gone. ns/op is the redirected one; the ratio is to the direct one.
func BenchmarkConnect(b *testing.B) {
	w := newWorld(b, everything...)
	newDrain(w)
	n := max(b.N/rounds, 1)
	w.timeConnect(n, "10.1.2.3", 443) // warms up
	var redirected, direct time.Duration
	for range rounds {
		redirected += w.timeConnect(n, "10.1.2.3", 443)
		check(b, w.object.Detach())
		direct += w.timeConnect(n, "127.0.0.1", port)
		check(b, w.object.Attach(w.cgroup))
	}
	b.ReportMetric(float64(redirected.Nanoseconds())/float64(n*rounds), "ns/op")
	b.ReportMetric(float64(direct.Nanoseconds())/float64(n*rounds), "direct-ns/op")
	b.ReportMetric(float64(redirected)/float64(direct), "ratio")
}

func (w *world) timeConnect(n int, address string, port int) time.Duration {
	w.t.Helper()
	out := w.output(w.command(must(client())(w.t), "time", "1", strconv.Itoa(n), address, strconv.Itoa(port)))
	return time.Duration(must(strconv.ParseInt(strings.TrimSpace(out), 10, 64))(w.t))
}
