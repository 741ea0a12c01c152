// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Client speaks to the daemon of this node. It may be used by many goroutines.
type Client struct {
	http http.Client
}

// Dial returns a client of the daemon at a socket; "" is the usual one. It
// connects with the first call.
func Dial(socket string) *Client {
	if socket == "" {
		socket = Socket
	}
	var d net.Dialer
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Attach makes a session of a namespace, or joins the session it has. When it
// returns without an error everything that holds the container is in force.
func (c *Client) Attach(ctx context.Context, a Attachment) (Attachment, error) {
	var made Attachment
	err := c.call(ctx, AttachTimeout, "attach", a, &made)
	return made, err
}

// Check asks whether everything that Attach put in force is. CodeBroken says
// what is not.
func (c *Client) Check(ctx context.Context, a Attachment) error {
	return c.call(ctx, CallTimeout, "check", a, &struct{}{})
}

// Detach ends an attachment. One that is not there is ended.
func (c *Client) Detach(ctx context.Context, container, ifname string) error {
	return c.call(ctx, AttachTimeout, "detach", Key{container, ifname}, &struct{}{})
}

// Keep names the attachments of a network that Collect leaves.
type Keep struct {
	Network string `json:"network"`
	Keep    []Key  `json:"keep"`
}

// Collect ends every attachment of a network but those to keep, and every one
// whose namespace is gone.
func (c *Client) Collect(ctx context.Context, network string, keep []Key) error {
	if keep == nil {
		keep = []Key{}
	}
	return c.call(ctx, AttachTimeout, "collect", Keep{network, keep}, &struct{}{})
}

// Target names a session.
type Target struct {
	Session string `json:"session"`
}

// Stop ends the session of a container; the container stays, and reaches
// nothing any more.
func (c *Client) Stop(ctx context.Context, session string) error {
	return c.call(ctx, AttachTimeout, "stop", Target{session}, &struct{}{})
}

// Reload reads every policy again and fetches its credentials.
func (c *Client) Reload(ctx context.Context) ([]PolicyInfo, error) {
	var policies []PolicyInfo
	err := c.call(ctx, ReloadTimeout, "reload", struct{}{}, &policies)
	return policies, err
}

// Stored tells the daemon that a credential of the store is another one now.
func (c *Client) Stored(ctx context.Context, name string, removed bool) error {
	return c.call(ctx, ReloadTimeout, "stored", Stored{name, removed}, &struct{}{})
}

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, CallTimeout, "status", nil, &s)
	return s, err
}

// List returns the attachments of the node, by container and interface.
func (c *Client) List(ctx context.Context) ([]Attachment, error) {
	var all []Attachment
	err := c.call(ctx, CallTimeout, "attachments", nil, &all)
	return all, err
}

// Policies returns the policies of the node, by name.
func (c *Client) Policies(ctx context.Context) ([]PolicyInfo, error) {
	var all []PolicyInfo
	err := c.call(ctx, CallTimeout, "policies", nil, &all)
	return all, err
}

// call sends one request and reads its answer. Without a request it is a GET.
func (c *Client) call(ctx context.Context, timeout time.Duration, name string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := newRequest(ctx, name, request)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return Decode(resp.Body, MaxAnswer, answer)
	}
	refused := new(Error)
	if err := Decode(resp.Body, MaxRequest, refused); err != nil {
		return fmt.Errorf("%s: answered %d: %w", name, resp.StatusCode, err)
	}
	return refused
}

func newRequest(ctx context.Context, name string, request any) (*http.Request, error) {
	url := "http://node/" + Version + "/" + name
	if request == nil {
		return http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if limit := RequestLimit(name); int64(len(body)) > limit {
		return nil, fmt.Errorf("encode request: %w (%d bytes at most)", errTooLong, limit)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// RequestLimit is what a request of that name may have in bytes.
func RequestLimit(name string) int64 {
	if name == "collect" {
		return MaxCollect
	}
	return MaxRequest
}

// cause leaves out net/http's own words, which name a URL that means nothing
// to a reader.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
