// SPDX-License-Identifier: Apache-2.0

// Command load makes traffic of every kind, as long as a line on its input says
// in seconds, and prints how many rounds it did when every connection of its own
// is closed. It ends with its input, or with the first answer that is not what
// the policy of the test makes it.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	host    = "api.soak.test"
	workers = 8
)

// authorization holds what the agent has, a placeholder.
var authorization = "Bearer " + os.Getenv("SOAK_KEY")

// client is one worker's: connections are kept, and now and then closed.
type client struct {
	h1, h2 *http.Transport
}

func newClient() *client {
	one := &http.Transport{TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	return &client{h1: one, h2: &http.Transport{ForceAttemptHTTP2: true}}
}

func (c *client) close() {
	c.h1.CloseIdleConnections()
	c.h2.CloseIdleConnections()
}

// kinds are what a round consists of.
var kinds = []func(*client) error{
	func(c *client) error { return c.get(c.h1, http.StatusOK) },
	func(c *client) error { return c.get(c.h2, http.StatusOK) },
	func(c *client) error { return c.post(c.h1, host, http.StatusOK) },
	func(c *client) error { return c.post(c.h2, host, http.StatusOK) },
	func(c *client) error { return c.post(c.h1, "docs.soak.test", http.StatusForbidden) },
	func(c *client) error { return c.giveUp(c.h1) },
	func(c *client) error { return c.giveUp(c.h2) },
	(*client).webSocket,
	(*client).reset,
	(*client).refused,
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		length, err := time.ParseDuration(lines.Text() + "s")
		if err != nil {
			fail(err)
		}
		fmt.Println(run(time.Now().Add(length)))
	}
}

func run(until time.Time) int64 {
	var rounds atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			c := newClient()
			defer c.close()
			for n := 0; time.Now().Before(until); n++ {
				if n%20 == 19 {
					c.close()
				}
				for i, kind := range kinds {
					if err := kind(c); err != nil {
						fail(fmt.Errorf("kind %d: %w", i, err))
					}
				}
				rounds.Add(1)
			}
		})
	}
	all.Wait()
	return rounds.Load()
}

func fail(err error) {
	fmt.Println("load:", err) // where the number is awaited
	os.Exit(1)
}

func (c *client) do(t *http.Transport, r *http.Request, want int) error {
	answer, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s: status %d, not %d", r.URL, answer.StatusCode, want)
	}
	return nil
}

func (c *client) get(t *http.Transport, want int) error {
	r, err := http.NewRequest("GET", "https://"+host+"/get", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", authorization)
	return c.do(t, r, want)
}

func (c *client) post(t *http.Transport, to string, want int) error {
	r, err := http.NewRequest("POST", "https://"+to+"/echo", strings.NewReader(strings.Repeat("a body of some length ", 3000)))
	if err != nil {
		return err
	}
	if to == host {
		r.Header.Set("Authorization", authorization)
	}
	return c.do(t, r, want)
}

// giveUp leaves while the answer is on its way.
func (c *client) giveUp(t *http.Transport) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+host+"/slow", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", authorization)
	answer, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	cancel()
	return answer.Body.Close()
}

// webSocket sends one frame and reads one.
func (c *client) webSocket() error {
	conn, err := tls.Dial("tcp", host+":443", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: %s\r\n\r\n", host, authorization)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("WebSocket: %s", answer.Status)
	}
	if _, err := conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}); err != nil { // text, masked with zeros
		return err
	}
	frame := make([]byte, 4)
	if _, err := io.ReadFull(in, frame); err != nil || string(frame) != "\x81\x02hi" {
		return fmt.Errorf("WebSocket: got %q: %w", frame, err)
	}
	return nil
}

// reset leaves by RST, in the middle of a handshake of TLS.
func (c *client) reset() error {
	conn, err := net.Dial("tcp", host+":443")
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0x16, 3, 1}); err != nil {
		return err
	}
	return errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
}

// refused goes where no way leads.
func (c *client) refused() error {
	if _, err := net.LookupHost("away.soak.test"); err == nil {
		return errors.New("a name was resolved")
	}
	conn, err := net.Dial("tcp", "192.0.2.7:443")
	if err == nil {
		conn.Close()
		return errors.New("an address was reached")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) { // before Linux 6.1
		return err
	}
	return nil
}
