// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchWorld is one upstream with one way to it directly and one through the
// proxy, TLS on every leg.
type benchWorld struct {
	direct, proxied *http.Client
}

func newBenchWorld(b *testing.B, h2 bool) benchWorld {
	body := make([]byte, 1024)
	world := newAuthority(b)
	up := newHandlerUpstream(b, world, h2, func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	at := up.Listener.Addr().String()
	r := newRig(b, testSession(at, at), world, nil)
	proxied := r.client(h2)
	proxied.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	direct := proxied.Transport.(*http.Transport).Clone()
	direct.TLSClientConfig = &tls.Config{RootCAs: pool(world)}
	direct.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", at)
	}
	b.Cleanup(direct.CloseIdleConnections)
	return benchWorld{&http.Client{Transport: direct}, proxied}
}

func benchOne(b *testing.B, client *http.Client) {
	req, err := http.NewRequest("GET", "https://"+apiHost+"/v1/models", nil)
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+placeholder)
	resp, err := client.Transport.RoundTrip(req)
	if err != nil {
		b.Error(err)
		return
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil || n != 1024 || resp.StatusCode != 200 {
		b.Errorf("%d, %d bytes, %v", resp.StatusCode, n, err)
	}
}

// latencies measures n requests one after the other.
func latencies(b *testing.B, client *http.Client, n int) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		start := time.Now()
		benchOne(b, client)
		list[i] = time.Since(start)
	}
	return list
}

func percentile(list []time.Duration, p float64) time.Duration {
	slices.Sort(list)
	return list[min(int(p*float64(len(list))), len(list)-1)]
}

// BenchmarkKeepAlive: one connection, one request at a time. The two ways take
// turns in short rounds, so that both see the same machine.
func BenchmarkKeepAlive(b *testing.B) {
	for name, h2 := range map[string]bool{"h1": false, "h2": true} {
		b.Run(name, func(b *testing.B) {
			w := newBenchWorld(b, h2)
			latencies(b, w.direct, 100)
			latencies(b, w.proxied, 100)
			var direct, proxied []time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += 50 {
				direct = append(direct, latencies(b, w.direct, 50)...)
				proxied = append(proxied, latencies(b, w.proxied, 50)...)
			}
			d, p := percentile(direct, 0.5), percentile(proxied, 0.5)
			b.ReportMetric(float64(p)/float64(d), "p50-ratio")
			b.ReportMetric(float64(percentile(proxied, 0.99))/float64(percentile(direct, 0.99)), "p99-ratio")
			b.ReportMetric(float64(d.Microseconds()), "direct-p50-µs")
			b.ReportMetric(float64(p.Microseconds()), "proxied-p50-µs")
		})
	}
}

// BenchmarkThroughput: 32 connections, each as fast as it can.
func BenchmarkThroughput(b *testing.B) {
	w := newBenchWorld(b, false)
	throughput(b, w.direct, 320)
	throughput(b, w.proxied, 320)
	b.ResetTimer()
	var direct, proxied time.Duration
	n := 0
	for n < b.N {
		direct += throughput(b, w.direct, 1600)
		proxied += throughput(b, w.proxied, 1600)
		n += 1600
	}
	b.ReportMetric(float64(direct)/float64(proxied), "ratio")
	b.ReportMetric(float64(n)/direct.Seconds(), "direct-rps")
	b.ReportMetric(float64(n)/proxied.Seconds(), "proxied-rps")
}

func throughput(b *testing.B, client *http.Client, n int) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	start := time.Now()
	for range 32 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				benchOne(b, client)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
