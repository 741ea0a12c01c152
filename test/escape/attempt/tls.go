// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// tlsWays disagree about the name (N), or speak something else where TLS is
// expected. The first is the way in: without it, the others prove nothing.
var tlsWays = map[string]way{
	"https":         request("", get),
	"sni_other":     request("other.escape.test", get),
	"sni_evil":      request("evil.test", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
	"sni_none":      request("-", get),
	"host_other":    request("", "GET / HTTP/1.1\r\nHost: other.escape.test\r\n\r\n"),
	"host_evil":     request("", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
	"host_absolute": request("", "GET https://evil.test/ HTTP/1.1\r\nHost: %s\r\n\r\n"),
	"http_connect":  request("", "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"),
	"http_trace":    request("", "TRACE / HTTP/1.1\r\nHost: %s\r\n\r\n"),
	"http_post":     request("", "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 6\r\n\r\nescape"),
	"http_key":      request("", "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer stolen\r\n\r\n"),
	"rebind_meta":   rebound("meta"),
	"rebind_meta6":  rebound("meta6"),
	"rebind_loop":   rebound("loop"),
	"rebind_lan":    rebound("lan"),
	"rebind_nat64":  rebound("nat64"),
	"rebind_host":   rebound("own"),
	"plain_http":    plain("GET / HTTP/1.1\r\nHost: api.escape.test\r\n\r\n"),
	"plain_junk":    plain("\x00\x00\x00\x00escape\r\n\r\n"),
	"ssh_banner":    plain("SSH-2.0-escape\r\n"),
}

// dialName connects to an allowed name.
func dialName(name string) (net.Conn, error) {
	address, err := lookup("tcp4", name)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, 443).String(), patience())
	if err == nil {
		err = conn.SetDeadline(deadline())
	}
	return conn, err
}

const get = "GET / HTTP/1.1\r\nHost: %s\r\n\r\n"

// request sends one request to the allowed name; %s in it is the name. sni ""
// is the same name, "-" none.
func request(sni, text string) way {
	return func() string { return requestTo(fact("name"), sni, text) }
}

// rebound asks a name that is allowed and whose address, as the host resolves
// it, is not.
func rebound(label string) way {
	return func() string { return requestTo(label+".escape.test", "", get) }
}

func requestTo(name, sni, text string) string {
	conn, err := dialName(name)
	if err != nil {
		return "dial=" + dialWord(err)
	}
	config := &tls.Config{ServerName: sni, RootCAs: roots()}
	switch sni {
	case "":
		config.ServerName = name
	case "-":
		config.ServerName, config.InsecureSkipVerify = "", true
	}
	secure := tls.Client(conn, config)
	if err := secure.Handshake(); err != nil {
		return "tls=" + tlsWord(err)
	}
	return status(secure, strings.Replace(text, "%s", name, 1))
}

func status(conn io.ReadWriter, text string) string {
	io.WriteString(conn, text)
	method, _, _ := strings.Cut(text, " ")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return "answer=" + tlsWord(err)
	}
	return fmt.Sprintf("status=%d", answer.StatusCode)
}

// roots is what the session's programs are told to trust.
func roots() *x509.CertPool {
	data, err := os.ReadFile("/run/phantom-ns/ca.pem")
	if err != nil {
		fail(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool
}

func tlsWord(err error) string {
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return fmt.Sprintf("alert%d", uint8(alert))
	}
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		return strings.ReplaceAll(remote.Err.Error(), " ", "_")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "closed"
	}
	if w := dialWord(err); w != "ECONNRESET" {
		return w
	}
	return "closed"
}

// plain sends text without TLS.
func plain(text string) way {
	return func() string {
		conn, err := dialName(fact("name"))
		if err != nil {
			return "dial=" + dialWord(err)
		}
		io.WriteString(conn, text)
		data, err := io.ReadAll(conn)
		if len(data) > 0 {
			return fmt.Sprintf("answered=%q", first(data))
		}
		if err == nil {
			return "closed"
		}
		return tlsWord(err)
	}
}

// first is the first bytes of an answer, enough to know it by.
func first(data []byte) []byte { return data[:min(len(data), 2)] }
