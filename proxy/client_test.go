// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

func eachProtocol(t *testing.T, test func(t *testing.T, h2 bool)) {
	t.Run("h1", func(t *testing.T) { test(t, false) })
	t.Run("h2", func(t *testing.T) { test(t, true) })
}

// call is one request of an unmodified client.
type call struct {
	method, url, body string
	header            http.Header
}

func (r *rig) do(client *http.Client, c call) (*http.Response, string) {
	r.t.Helper()
	if c.method == "" {
		c.method = "GET"
	}
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	req, err := http.NewRequest(c.method, c.url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var head bytes.Buffer
	resp.Header.Write(&head)
	r.noLeak(head.String() + string(got))
	return resp, string(got)
}

// refusedPage checks a refusal's page against the record and returns its reason.
func (r *rig) refusedPage(body string, record int) string {
	r.t.Helper()
	var p page
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		r.t.Fatalf("refusal is not JSON: %v in %q", err, body)
	}
	rec := r.sink.last(record)
	if p.ID == "" || p.ID != rec.ID || p.Reason != rec.Reason || p.Host != rec.Name {
		r.t.Errorf("page %+v does not match record %+v", p, rec)
	}
	return string(p.Reason)
}

// HTTP/2 frame types and flags of RFC 9113 section 6.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameUpdate       = 8
	frameContinuation = 9

	flagEndStream  = 1
	flagEndHeaders = 4
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[5:], stream)
	return append(head, payload...)
}

func readFrame(conn io.Reader) (kind byte, payload []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(conn, payload)
	return head[3], payload, err
}

// dialH2 opens an h2 connection of which the test writes the frames.
func (r *rig) dialH2(host string) *tls.Conn {
	r.t.Helper()
	conn := r.dialTLS(host, "h2")
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	conn.Write(frame(frameSettings, 0, 0, nil))
	return conn
}

// fieldBlock encodes names and values, in order, without the dynamic table.
func fieldBlock(fields ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true})
	}
	return block.Bytes()
}

// stream sends one h2 request of any fields, in order, and returns the status,
// or "reset" when the stream or connection was ended instead.
func (r *rig) stream(host string, fields ...string) string {
	r.t.Helper()
	return r.block(host, fieldBlock(fields...))
}

// block is stream for fields that are encoded.
func (r *rig) block(host string, fields []byte) string {
	r.t.Helper()
	conn := r.dialH2(host)
	defer conn.Close()
	conn.Write(frame(frameHeaders, flagEndStream|flagEndHeaders, 1, fields))
	for {
		kind, payload, err := readFrame(conn)
		switch {
		case err != nil, kind == frameReset, kind == frameGoAway:
			return "reset"
		case kind == frameHeaders:
			answer, err := hpack.NewDecoder(4096, nil).DecodeFull(payload)
			if err != nil || answer[0].Name != ":status" {
				r.t.Fatalf("answer %v: %v", answer, err)
			}
			return answer[0].Value
		}
	}
}

// fields are those of an ordinary h2 request, changed by pairs of name and
// value; a name that begins with "+" is added.
func fields(change ...string) []string {
	base := []string{":method", "GET", ":scheme", "https", ":authority", apiHost, ":path", "/v1/models",
		"authorization", "Bearer " + placeholder}
	for i := 0; i+1 < len(change); i += 2 {
		if name, ok := strings.CutPrefix(change[i], "+"); ok {
			base = append(base, name, change[i+1])
			continue
		}
		for j := 0; j < len(base); j += 2 {
			if base[j] == change[i] {
				base[j+1] = change[i+1]
			}
		}
	}
	return base
}
