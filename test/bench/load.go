// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// figures are what one load run found.
type figures struct {
	Rate float64       `json:"rate"` // requests a second
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
}

// loadMain sends requests over kept-alive connections and prints figures as
// JSON. With -connect and -ca it goes to the upstream directly; without, by
// name, as any client in a session does.
func loadMain(args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	requests := flags.Int("n", 2000, "requests")
	conns := flags.Int("c", 1, "connections")
	connect := flags.String("connect", "", "dial this address whatever the URL says")
	ca := flags.String("ca", "", "trust the roots in this file")
	key := flags.String("key", os.Getenv("BENCH_KEY"), "bearer token")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := loadClient(*connect, *ca, *conns)
	if err != nil {
		return err
	}
	f, err := load(client, flags.Arg(0), *key, *requests, *conns)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

func loadClient(connect, ca string, conns int) (*http.Client, error) {
	t := &http.Transport{
		MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true,
		TLSClientConfig: &tls.Config{NextProtos: []string{"http/1.1"}},
	}
	if connect != "" {
		var d net.Dialer
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", connect) }
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	return &http.Client{Transport: t, Timeout: 30 * time.Second}, nil
}

func load(client *http.Client, url, key string, requests, conns int) (figures, error) {
	// A first round fills the pool: handshakes are not what is measured.
	if _, err := round(client, url, key, conns*4, conns); err != nil {
		return figures{}, err
	}
	began := time.Now()
	times, err := round(client, url, key, requests, conns)
	if err != nil {
		return figures{}, err
	}
	took := time.Since(began)
	slices.Sort(times)
	return figures{
		Rate: float64(len(times)) / took.Seconds(),
		P50:  times[len(times)/2], P99: times[len(times)*99/100],
	}, nil
}

// round sends n requests from c workers and returns how long each took.
func round(client *http.Client, url, key string, n, c int) ([]time.Duration, error) {
	times := make([][]time.Duration, c)
	errs := make([]error, c)
	var wg sync.WaitGroup
	for w := range c {
		wg.Go(func() {
			for range n / c {
				began := time.Now()
				if errs[w] = get(client, url, key); errs[w] != nil {
					return
				}
				times[w] = append(times[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

func get(client *http.Client, url, key string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return err
}
