// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Via is the HTTP proxy of the network, which connections to names go through
// by CONNECT (RFC 9110, section 9.3.6). It is told the name and resolves it:
// nothing is looked up here. TLS to the upstream runs inside, end to end.
type Via struct {
	Address  string       // HOST:PORT
	User     string       // for Basic authentication; "" for none
	Password secret.Value // sent to the proxy in the clear, as Basic does
}

// viaNetworks are where the network's proxy may be, beside public addresses: it
// was named by the policy, and is usually near, or on this very host. Of the
// range of carrier-grade NAT it is the half without Alibaba's metadata.
var viaNetworks = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/11"), netip.MustParsePrefix("fc00::/7"),
}

// maxConnectHead bounds the answer to CONNECT.
const maxConnectHead = 64 << 10

var errNotHTTP = errors.New("its answer is not HTTP")

// viaError is a connection that the network's proxy did not make.
type viaError struct {
	status int // of its answer; 0: there was none
	err    error
}

func (e *viaError) Error() string {
	if e.status != 0 {
		return fmt.Sprintf("upstream proxy answers %d", e.status)
	}
	return fmt.Sprintf("upstream proxy: %v", e.err)
}

// hint is for the agent: no address, and no word of the proxy's own.
func (e *viaError) hint() string {
	switch e.status {
	case 0:
		return "the network's proxy, upstream.proxy of the policy, cannot be reached or does not answer as one"
	case http.StatusProxyAuthRequired:
		return "the network's proxy, upstream.proxy of the policy, wants another user or password"
	}
	return "the network's proxy, upstream.proxy of the policy, does not connect to this host: it answers " + strconv.Itoa(e.status)
}

// dialVia connects to host and port through the network's proxy.
func (d *dialer) dialVia(ctx context.Context, host string, port uint16) (net.Conn, error) {
	conn, err := d.dialProxy(ctx)
	if err != nil {
		return nil, d.tellVia(&viaError{err: err})
	}
	// The deadline first: an answer that does not come must not hold the dial.
	conn.SetDeadline(time.Now().Add(dialTimeout))
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	rest, err := d.via.connect(conn, joinHostPort(host, port))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, d.tellVia(err)
	}
	conn.SetDeadline(time.Time{})
	if tcp, ok := conn.(*net.TCPConn); ok && len(rest) > 0 {
		return &ahead{TCPConn: tcp, rest: rest}, nil
	}
	return conn, nil
}

// dialProxy connects to the network's proxy itself. Its address is an allowance
// for itself; a name may lead to one of viaNetworks or to a public address.
func (d *dialer) dialProxy(ctx context.Context) (net.Conn, error) {
	host, port, err := splitAddress(d.via.Address)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return d.dialAddress(ctx, netip.AddrPortFrom(addr, port))
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	g, err := d.guard(viaNetworks)
	if err != nil {
		return nil, err
	}
	if err := g.checkAll(addrs); err != nil {
		return nil, fmt.Errorf("dial %s: %w", host, err)
	}
	return d.race(ctx, g, addrs, port)
}

// tellVia has the person read once what the network's proxy says: no request of
// the session will do better.
func (d *dialer) tellVia(err error) error {
	d.told.tell("upstream proxy", func() { d.logger.Warn("connect through upstream.proxy", "proxy", d.via.Address, "error", err) })
	return err
}

// connect asks for a tunnel to authority and returns what came behind the
// answer's head.
func (v *Via) connect(conn net.Conn, authority string) (rest []byte, err error) {
	head := v.head(authority)
	_, err = conn.Write(head)
	clear(head)
	if err != nil {
		return nil, &viaError{err: err}
	}
	limited := &io.LimitedReader{R: conn, N: maxConnectHead}
	r := bufio.NewReader(limited)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	var broken net.Error
	if err != nil && !errors.As(err, &broken) {
		err = errNotHTTP // net/http quotes what came instead
	}
	if err != nil {
		return nil, &viaError{err: err}
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, &viaError{status: response.StatusCode}
	}
	rest, err = r.Peek(r.Buffered())
	return bytes.Clone(rest), err
}

// head is the request, with the password in it.
func (v *Via) head(authority string) []byte {
	var b bytes.Buffer
	b.Grow(512 + 2*(len(v.User)+v.Password.Len()))
	b.WriteString("CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n")
	if v.User != "" {
		pair := append([]byte(v.User+":"), v.Password.Reveal()...)
		b.WriteString("Proxy-Authorization: Basic ")
		b.Write(base64.StdEncoding.AppendEncode(b.AvailableBuffer(), pair))
		b.WriteString("\r\n")
		clear(pair)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// ahead is a connection some bytes of which were read before: a server that
// speaks first was faster than we.
type ahead struct {
	*net.TCPConn
	rest []byte
}

func (c *ahead) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// WriteTo keeps io.Copy from going straight to the embedded connection.
func (c *ahead) WriteTo(w io.Writer) (n int64, err error) {
	if len(c.rest) > 0 {
		first, err := w.Write(c.rest)
		c.rest, n = nil, int64(first)
		if err != nil {
			return n, err
		}
	}
	more, err := c.TCPConn.WriteTo(w)
	return n + more, err
}
