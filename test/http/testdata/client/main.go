// SPDX-License-Identifier: Apache-2.0

// Command client is the Go client of test/http: Go's transport, once in each
// protocol. It prints one line for each call: status, length and hash of what
// it read, the trailers. Called as "client NAME:VARIABLE"; with DIRECT set it
// connects there, whatever the name.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

const upload = 5 << 20

// call is one request. A length of -1 is an upload of unknown length.
type call struct {
	name, method, path string
	length             int64
	header             http.Header
	follow             bool
}

var calls = []call{
	{name: "get", method: "GET", path: "/echo"},
	{name: "target", method: "GET", path: "/echo/a%2Fb//c;d?x=+%20&y;z=%zz"},
	{name: "head", method: "HEAD", path: "/large"},
	{name: "post", method: "POST", path: "/echo", length: 1000},
	{name: "empty post", method: "POST", path: "/echo"},
	{name: "upload", method: "PUT", path: "/echo", length: upload},
	{name: "chunked upload", method: "PUT", path: "/echo", length: -1},
	{name: "expect", method: "PUT", path: "/echo", length: upload, header: http.Header{"Expect": {"100-continue"}}},
	{name: "patch", method: "PATCH", path: "/echo", length: 1},
	{name: "delete", method: "DELETE", path: "/echo"},
	{name: "options", method: "OPTIONS", path: "/echo"},
	{name: "204", method: "GET", path: "/204"},
	{name: "304", method: "GET", path: "/304"},
	{name: "404", method: "GET", path: "/nothing"},
	{name: "503", method: "POST", path: "/503", length: 10},
	{name: "redirect", method: "GET", path: "/redirect"},
	{name: "redirect followed", method: "GET", path: "/redirect", follow: true},
	{name: "post redirected", method: "POST", path: "/redirect", length: 100, follow: true},
	{name: "large", method: "GET", path: "/large"},
	{name: "stream", method: "GET", path: "/stream"},
	{name: "gzip", method: "GET", path: "/gzip"},
	{name: "trailers", method: "GET", path: "/trailers"},
	{name: "early answer", method: "POST", path: "/early", length: 100},
}

// body is deterministic, and of no known length to net/http.
func body(n int64) io.Reader {
	if n < 0 {
		n = upload
	}
	return struct{ io.Reader }{io.LimitReader(&pattern{}, n)}
}

type pattern struct{ at byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a' + p.at%23
		p.at++
	}
	return len(b), nil
}

func main() {
	for _, h2 := range []bool{false, true} {
		t := transport(h2)
		for _, c := range calls {
			fmt.Println("go", c.name, do(t, c))
		}
		for i, line := range parallel(t) {
			fmt.Println("go parallel", i, line)
		}
		t.CloseIdleConnections()
	}
}

func transport(h2 bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	t := &http.Transport{Protocols: protocols}
	if direct := os.Getenv("DIRECT"); direct != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, direct)
		}
	}
	return t
}

// parallel is the same call many times at once.
func parallel(t *http.Transport) []string {
	lines := make([]string, 20)
	var group sync.WaitGroup
	for i := range lines {
		group.Go(func() {
			lines[i] = do(t, call{method: "POST", path: fmt.Sprintf("/echo/%d", i), length: int64(i) * 1000})
		})
	}
	group.Wait()
	return lines
}

// do returns what one call came to.
func do(t *http.Transport, c call) string {
	name, variable, _ := strings.Cut(os.Args[1], ":")
	request, err := http.NewRequest(c.method, "https://"+name+c.path, nil)
	if err != nil {
		return err.Error()
	}
	for field, values := range c.header {
		request.Header[field] = values
	}
	if c.length != 0 {
		request.Body, request.ContentLength = io.NopCloser(body(c.length)), c.length
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body(c.length)), nil }
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv(variable))
	client := http.Client{Transport: t}
	if !c.follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, answer.Body)
	return fmt.Sprintf("%s %d %v %d %x %v %q", answer.Proto, answer.StatusCode, err, n, hash.Sum(nil), answer.Trailer, answer.Header.Get("Location"))
}
