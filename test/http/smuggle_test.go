// SPDX-License-Identifier: Apache-2.0

package http

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// h2Attack is one HTTP/2 request whose fields, written as HTTP/1.1 without care,
// would be two, or another one.
type h2Attack struct {
	kind   string
	fields []string // names and values
	body   string
	fate   fate
}

const emptied = "length of nothing"

// h2Attacks are attacks by HTTP/2 on an upstream that speaks HTTP/1.1. In each
// mark stands for its number.
func h2Attacks() (list []h2Attack) {
	const injected = "\r\n\r\nGET /smuggled/" + mark + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + placeholder + "\r\n\r\n"
	ordinary := []string{":method", "POST", ":scheme", "https", ":authority", host, ":path", "/a/" + mark, "authorization", "Bearer " + placeholder}
	add := func(kind string, f fate, body string, more ...string) {
		list = append(list, h2Attack{kind, append(ordinary[:len(ordinary):len(ordinary)], more...), body, f})
	}
	with := func(kind string, f fate, at int, value string) {
		fields := append([]string(nil), ordinary...)
		fields[at] = value
		list = append(list, h2Attack{kind, fields, smuggled, f})
	}
	add("plain", carried, smuggled)
	add("plain", carried, smuggled, "content-length", exact)
	for _, bad := range []string{injected, "x\r\ny: z", "x\ny: z", "x\ry: z", "x\x00", "x\r\n", "\r\nx", "\n", "\x00", "x\x7f", "x\x0b\x00"} {
		add("value", judged, smuggled, "x-field", bad)
		add("known field", judged, smuggled, "user-agent", bad)
		add("cookie", judged, smuggled, "cookie", "a="+bad)
		add("expect", judged, smuggled, "expect", bad)
		add("name", judged, smuggled, "x"+bad, "y")
		with("method", judged, 1, "POST"+bad)
		with("scheme", judged, 3, "https"+bad)
		with("authority", judged, 5, host+bad)
		with("path", judged, 7, "/a/"+mark+bad)
		with("credential", judged, 9, "Bearer "+placeholder+bad)
	}
	for _, name := range []string{
		"", "x y", "x:", ":x", "x: y\r\nz", "X", "x\ty", "x,", "x(", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade",
		"transfer_encoding", "content_length", "host_", "x_http_method_override", "x-http-method-override", ":path", ":method", ":authority", ":status", ":protocol",
	} {
		add("name", judged, smuggled, name, "chunked")
	}
	// net/http answers this one without its body, and resets it behind the answer.
	add(emptied, judged, smuggled, "content-length", "0")
	for _, n := range []string{"1", "4", "-1", "+1", "1e1", "0x1", exact + ", " + exact, "99999999999999999999", exact + " ", "", exact + "\r\nx: y"} {
		add("length", judged, smuggled, "content-length", n)
		add("two lengths", judged, smuggled, "content-length", exact, "content-length", n)
	}
	for _, te := range []string{"gzip", "chunked", "trailers, chunked"} {
		add("te", judged, smuggled, "te", te)
	}
	add("te", carried, smuggled, "te", "trailers")
	for _, path := range []string{
		"*", "", "a", "http://" + host + "/a/" + mark, "https://evil.test/a/" + mark, "/a/" + mark + " HTTP/1.1", "/a/" + mark + " x", "/a/" + mark + "\tx", "/a/" + mark + "#x", "//\x80/" + mark, "\\a",
	} {
		with("target", judged, 7, path)
	}
	for _, authority := range []string{"", "evil.test", host + " x", host + "/x", host + ",evil.test", "u@" + host, host + ":8443", "[" + host + "]", host + "\t"} {
		with("host", judged, 5, authority)
	}
	for _, v := range []string{"evil.test", "", host + ", evil.test"} {
		add("second host", judged, smuggled, "host", v)
	}
	for _, method := range []string{"CONNECT", "TRACE", "PRI", "get", "GET /x HTTP/1.1", "POST ", " POST", "", "P,OST"} {
		with("verb", judged, 1, method)
	}
	return list
}

// TestH2SmugglingFromHTTP2: what only HTTP/2 can put into a field becomes no
// second request, nor another one, on the upstream's HTTP/1.1.
func TestH2SmugglingFromHTTP2(t *testing.T) {
	b, list := newBroker(t), h2Attacks()
	b.client.NextProtos = []string{"h2"}
	accepted := 0
	for i, s := range list {
		status, err := b.send(s, i)
		switch ok := status == "200"; {
		case s.kind == emptied: // answered or reset, whichever is first
		case err != nil && s.fate == carried:
			t.Errorf("%s %d: %v", s.kind, i, err)
		case ok != (s.fate == carried):
			t.Errorf("%s %d: status %q\n%q", s.kind, i, status, s.fields)
		case ok:
			accepted++
		}
	}
	b.end(t)
	total := 0
	for target, requests := range b.up.requests {
		if requests[0].body != "" {
			total += len(requests)
		}
		if strings.Contains(target, "smuggled") || len(requests) != 1 || requests[0].body != "" && !strings.HasPrefix(requests[0].body, "GET /smuggled/") {
			t.Errorf("%s: %d, %.300q", target, len(requests), requests[0].head)
		}
	}
	for _, text := range b.up.malformed {
		t.Errorf("upstream cannot read a request: %s", text)
	}
	if total != accepted || accepted < 3 {
		t.Errorf("%d requests upstream, %d were accepted", total, accepted)
	}
	t.Logf("%d streams, %d accepted, %d whole requests upstream", len(list), accepted, total)
}

// Frames of RFC 9113 section 6.
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7
	endStream     = 1
	endHeaders    = 4
)

func frame(kind, flags byte, id uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), id)
	return append(b, payload...)
}

// send sends a stream on a connection of its own and returns its status, or how
// it was ended.
func (b *broker) send(s h2Attack, i int) (status string, err error) {
	conn, err := b.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for k := 0; k < len(s.fields); k += 2 {
		encoder.WriteField(hpack.HeaderField{Name: numbered(s.fields[k], i), Value: numbered(s.fields[k+1], i)})
	}
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	conn.Write(frame(frameSettings, 0, 0, nil))
	conn.Write(frame(frameHeaders, endHeaders, 1, block.Bytes()))
	conn.Write(frame(frameData, endStream, 1, []byte(numbered(s.body, i))))
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return "", err
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return "", err
		}
		switch head[3] {
		case frameReset, frameGoAway:
			return fmt.Sprintf("ended by frame %d", head[3]), nil
		case frameHeaders:
			answer, err := hpack.NewDecoder(4096, nil).DecodeFull(payload)
			if err != nil || len(answer) == 0 {
				return "", err
			}
			return answer[0].Value, nil
		}
	}
}
