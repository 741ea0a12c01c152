// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// badHeads are heads that net/http or another parser would take, one way or
// another, and that this one must not: name, head without its empty line,
// status.
var badHeads = []struct {
	name, head string
	status     int
}{
	{"length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked", 400},
	{"chunked and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4", 400},
	{"chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400},
	{"coding in upper case", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked", 400},
	{"coding list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", 400},
	{"coding identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity", 400},
	{"coding with vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked", 400},
	{"coding empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:", 400},
	{"length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4", 400},
	{"length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4", 400},
	{"length signed", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4", 400},
	{"length negative", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1", 400},
	{"length hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4", 400},
	{"length underscore", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0", 400},
	{"length empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:", 400},
	{"length overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999", 400},
	{"folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2", 400},
	{"folded with tab", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2", 400},
	{"first line folded", "GET / HTTP/1.1\r\n Host: a", 400},
	{"bare LF in fields", "GET / HTTP/1.1\r\nHost: a\nX: 1", 400},
	{"bare LF after request line", "GET / HTTP/1.1\nHost: a", 400},
	{"bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2", 400},
	{"NUL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002", 400},
	{"control in value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01", 400},
	{"DEL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f", 400},
	{"space before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : 1", 400},
	{"space in name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: 1", 400},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: 1", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX", 400},
	{"name not ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX\x80: 1", 400},
	{"no host", "GET / HTTP/1.1\r\nX: 1", 400},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a", 400},
	{"empty host", "GET / HTTP/1.1\r\nHost:", 400},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a", 505},
	{"HTTP/1.0 chunked", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", 505},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a", 400},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a", 505},
	{"lower-case version", "GET / http/1.1\r\nHost: a", 400},
	{"no version", "GET /\r\nHost: a", 400},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a", 400},
	{"tab", "GET\t/ HTTP/1.1\r\nHost: a", 400},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: a", 400},
	{"trailing space", "GET / HTTP/1.1 \r\nHost: a", 400},
	{"lower-case method", "get / HTTP/1.1\r\nHost: a", 400},
	{"method with digit", "GET1 / HTTP/1.1\r\nHost: a", 400},
	{"method empty", " / HTTP/1.1\r\nHost: a", 400},
	{"method long", strings.Repeat("A", 25) + " / HTTP/1.1\r\nHost: a", 400},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a", 405},
	{"TRACE", "TRACE / HTTP/1.1\r\nHost: a", 405},
	{"TRACK", "TRACK / HTTP/1.1\r\nHost: a", 405},
	{"PRI", "PRI * HTTP/2.0", 505},
	{"PRI in 1.1", "PRI * HTTP/1.1\r\nHost: a", 405},
	{"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a", 400},
	{"authority-form", "GET a:443 HTTP/1.1\r\nHost: a", 400},
	{"other scheme", "GET http://a/ HTTP/1.1\r\nHost: a", 400},
	{"fragment", "GET /#x HTTP/1.1\r\nHost: a", 400},
	{"target not ASCII", "GET /\xff HTTP/1.1\r\nHost: a", 400},
	{"target with control", "GET /\x01 HTTP/1.1\r\nHost: a", 400},
	{"target empty", "GET  HTTP/1.1\r\nHost: a", 400},
	{"absolute-form of another", "GET https://b/ HTTP/1.1\r\nHost: a", 421},
	{"absolute-form with user", "GET https://u@a/ HTTP/1.1\r\nHost: a", 421},
	{"h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", 400},
	{"upgrade list", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c", 400},
	{"upgrade by POST", "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket", 400},
	{"upgrade with body", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1", 400},
	{"upgrade unannounced", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", 400},
	{"expectation", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok", 417},
	{"too many fields", "GET / HTTP/1.1\r\nHost: a" + strings.Repeat("\r\nX: 1", maxHeaderCount), 431},
	{"empty line first", "\r\nGET / HTTP/1.1\r\nHost: a", 400},
	{"empty line first, bare", "\nGET / HTTP/1.1\r\nHost: a", 400},
	{"end by bare LF", "GET / HTTP/1.1\r\nHost: a\r\n\nX: y", 400},
}

func readOne(text string) (*head, error) {
	block, err := readBlock(bufio.NewReaderSize(strings.NewReader(text), 16), nil, defaultHeadBytes)
	if err != nil {
		return nil, err
	}
	return parseHead(block)
}

// TestHeadRefused: each is refused, with its status.
func TestHeadRefused(t *testing.T) {
	for _, c := range badHeads {
		t.Run(c.name, func(t *testing.T) {
			h, err := readOne(c.head + "\r\n\r\n")
			var refused *headError
			if !errors.As(err, &refused) || refused.status != c.status || !refused.reason.Known() {
				t.Fatalf("head %+v, error %v (want status %d)", h, err, c.status)
			}
		})
	}
}

func TestHeadAdmitted(t *testing.T) {
	for text, want := range map[string]head{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                                       {method: "GET", target: "/", host: "a"},
		"PROPFIND /x?y HTTP/1.1\r\nhost:\t a \r\n\r\n":                                                            {method: "PROPFIND", target: "/x?y", host: "a"},
		"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n":                                                                  {method: "M-SEARCH", target: "/", host: "a"},
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n":                                               {method: "POST", target: "/", host: "a", length: 7},
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n":                {method: "POST", target: "/", host: "a", length: -1, expect: true},
		"GET https://a HTTP/1.1\r\nHost: A\r\nConnection: x, Close\r\n\r\n":                                       {method: "GET", target: "/", host: "A", close: true},
		"GET https://a?q HTTP/1.1\r\nHost: a\r\n\r\n":                                                             {method: "GET", target: "?q", host: "a"},
		"GET https://a:443/b//c HTTP/1.1\r\nHost: a:443\r\n\r\n":                                                  {method: "GET", target: "/b//c", host: "a:443"},
		"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nX: \x80\r\n\r\n": {method: "GET", target: "/ws", host: "a", upgrade: true},
	} {
		h, err := readOne(text)
		if want.target == "?q" { // no path: not in origin-form
			if err == nil {
				t.Errorf("%q was admitted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		h.header = nil
		if h.method != want.method || h.target != want.target || h.host != want.host || h.length != want.length ||
			h.close != want.close || h.expect != want.expect || h.upgrade != want.upgrade {
			t.Errorf("%q: %+v", text, *h)
		}
	}
}

// TestHeadLimit: the limit is exact, and no more than the head is read.
func TestHeadLimit(t *testing.T) {
	const text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for limit, want := range map[int]error{len(text): nil, len(text) - 1: errHeadTooLarge, 4: errHeadTooLarge} {
		br := bufio.NewReader(strings.NewReader(text + "BODY"))
		if _, err := readBlock(br, nil, limit); err != want {
			t.Errorf("limit %d: %v", limit, err)
		} else if err == nil && br.Buffered() != 4 {
			t.Errorf("%d bytes left, not 4", br.Buffered())
		}
	}
	endless := bufio.NewReader(&repeat{text: "A"})
	if _, err := readBlock(endless, nil, defaultHeadBytes); err != errHeadTooLarge {
		t.Errorf("endless line: %v", err)
	}
}

// repeat reads text for ever.
type repeat struct {
	text string
}

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[i%len(r.text)]
	}
	return len(p), nil
}

// FuzzHead: whatever is admitted is one head by net/http's reading too, with
// the same method, target, host and length.
func FuzzHead(f *testing.F) {
	for _, c := range badHeads {
		f.Add(c.head + "\r\n\r\n")
	}
	f.Add("POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
	f.Add("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := readOne(text)
		if err != nil {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return // this parser is the looser one in places, never in framing
		}
		if req.Method != h.method || req.ContentLength != h.length && !(h.length == 0 && req.ContentLength <= 0) {
			t.Fatalf("%q: %+v against %+v", text, h, req)
		}
		if !strings.HasSuffix(req.RequestURI, h.target) && h.target != "/" {
			t.Fatalf("%q: target %q against %q", text, h.target, req.RequestURI)
		}
	})
}

// FuzzTarget: a target that is admitted goes out byte for byte.
func FuzzTarget(f *testing.F) {
	for _, target := range targets {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if checkTarget(target) == nil && validTarget(target) {
			if got := targetURL("https", "a", target).RequestURI(); got != target {
				t.Fatalf("%q became %q", target, got)
			}
		}
	})
}

// targets must go out unchanged.
var targets = []string{
	"/", "/a%2Fb", "/a%2fb", "//", "//a//b", "/a;b=c", "/a;b?c;d", "/a+b?c+d", "/a%20b?c%20d", "/?", "/a??b", "/a?b=%zz",
	"/a?Signature-X=0a%2F%2B%3D", "/%E2%82%AC", "/a:b@c", "/~a!$&'()*,=", "/a|b{c}", "/a\"b<c>^`", "/a/./b/../c", "//evil.test/x", "//a|b{c}", "//[::1]/", "//a%zz", "//?", "//a?", "/a%00b", "/a\\b",
}
