// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
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

// BenchmarkFirstToken: how much later than straight the first event of a stream
// arrives, ten credentials or not. The two ways take turns.
func BenchmarkFirstToken(b *testing.B) {
	for name, h2 := range map[string]bool{"h1": false, "h2": true} {
		b.Run(name, func(b *testing.B) {
			world, arrived := newAuthority(b), make(chan struct{})
			up := newHandlerUpstream(b, world, h2, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, firstEvent) // and the line goes on
				w.(http.Flusher).Flush()
				<-arrived
			})
			at := up.Listener.Addr().String()
			r := newRig(b, testSession(at, at), world, nil)
			proxied := r.client(h2)
			direct := proxied.Transport.(*http.Transport).Clone()
			direct.TLSClientConfig = &tls.Config{RootCAs: pool(world)}
			direct.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", at)
			}
			var straight, through []time.Duration
			for range max(b.N, 50) {
				straight = append(straight, firstToken(b, &http.Client{Transport: direct}, arrived))
				through = append(through, firstToken(b, proxied, arrived))
			}
			for name, p := range map[string]float64{"p50": 0.5, "p99": 0.99} {
				d, t := percentile(straight, p), percentile(through, p)
				b.ReportMetric(float64(d.Microseconds()), "direct-"+name+"-µs")
				b.ReportMetric(float64(t.Microseconds()), "proxied-"+name+"-µs")
				b.ReportMetric(float64((t - d).Microseconds()), "later-"+name+"-µs")
			}
		})
	}
}

const firstEvent = `data: {"delta": "Hello, as"}`

// firstToken is the time from the request to the last byte of the first event,
// over a connection that is there.
func firstToken(b *testing.B, client *http.Client, arrived chan<- struct{}) time.Duration {
	req, err := http.NewRequest("GET", "https://"+apiHost+"/v1/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+placeholder)
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len(firstEvent))); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	arrived <- struct{}{}
	io.Copy(io.Discard, resp.Body)
	return took
}

// BenchmarkIdle: ten thousand connections of the agent that have been served
// once and are idle, and what each costs the proxy. Their other ends are pipes,
// which are counted too.
func BenchmarkIdle(b *testing.B) {
	const count = 10_000
	r, _, _ := newWorldWith(b, func(c *Config) { c.Limits.Connections = count + 1 })
	r.server.origin = func(net.Conn) (Origin, error) { return Origin{Dst: netip.AddrPortFrom(synthetic(apiHost), 443)}, nil }
	for range b.N {
		agents := make([]*tls.Conn, count)
		before := resident()
		for i := range agents {
			agents[i] = idleAgent(b, r)
		}
		b.ReportMetric(float64(resident()-before)/count/1024, "KiB/connection")
		for _, agent := range agents { // each is still served
			exchangeOnce(b, agent)
		}
		for _, agent := range agents {
			agent.NetConn().Close()
		}
	}
}

func idleAgent(b *testing.B, r *rig) *tls.Conn {
	near, far := net.Pipe()
	r.server.take(pipeConn{far})
	agent := tls.Client(near, r.tlsConfig(apiHost, "http/1.1"))
	exchangeOnce(b, agent)
	return agent
}

func exchangeOnce(b *testing.B, agent *tls.Conn) {
	if _, err := io.WriteString(agent, request(apiHost)); err != nil {
		b.Fatal(err)
	}
	br := bufio.NewReaderSize(agent, 512)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 200 {
		b.Fatal(resp, err)
	}
	io.Copy(io.Discard, resp.Body)
}
