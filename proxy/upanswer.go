// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"time"
)

// errAnswer is wrapped when an upstream's answer is not HTTP/1.1 of the strict
// form.
var errAnswer = errors.New("malformed answer")

const (
	maxInterim      = 16  // 1xx answers before the final one
	maxAnswerFields = 512 // field lines; the agent's leg takes any number
)

// answer reads the head of the final answer. closes says that the connection
// ends behind it.
func (c *upConn) answer(req *http.Request) (resp *http.Response, closes bool, err error) {
	if c.sending == nil { // else its end sets the deadline
		c.conn.SetReadDeadline(time.Now().Add(upstreamHead))
	}
	if _, err := c.br.Peek(1); err != nil {
		return nil, false, c.silence(err)
	}
	for range maxInterim {
		if resp, err = c.head(); err != nil {
			return nil, false, c.blame(err)
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, true, c.conn.SetReadDeadline(time.Time{})
		case resp.StatusCode == http.StatusContinue && c.sending != nil:
			select {
			case c.sending.proceed <- true:
			default: // it did not wait, or goes on already
			}
		case resp.StatusCode >= 200:
			if c.sending != nil {
				c.sending.stop()
			} else {
				c.conn.SetReadDeadline(time.Time{})
			}
			closes, err = frameAnswer(resp, req.Method)
			return resp, closes, err
		}
	}
	return nil, false, fmt.Errorf("read answer: %w: no end of interim ones", errAnswer)
}

// silence is the error of a connection that ended before an answer began.
func (c *upConn) silence(err error) error {
	if cause := c.blame(nil); cause != nil {
		return cause
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("read answer: %w", err)
	}
	return fmt.Errorf("read answer: %w: %w", errStale, err)
}

// blame returns how the body failed, when that is why there is no answer.
func (c *upConn) blame(err error) error {
	if c.sending != nil {
		select {
		case <-c.sending.done:
			if c.sending.err != nil && !errors.Is(c.sending.err, errNotSent) {
				return fmt.Errorf("write request: %w", c.sending.err)
			}
		default:
		}
	}
	return err
}

// head reads one status line and its fields.
func (c *upConn) head() (*http.Response, error) {
	block := h1Blocks.Get().(*[]byte)
	defer h1Blocks.Put(block)
	var err error
	*block, err = readBlock(c.br, (*block)[:0], upstreamHeaders)
	defer func() { clear(*block) }()
	var bad *headError
	switch {
	case errors.As(err, &bad):
		return nil, fmt.Errorf("read answer: %w: %s", errAnswer, bad.text)
	case err == io.EOF:
		return nil, fmt.Errorf("read answer: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return parseAnswer(*block)
}

// parseAnswer judges one complete head. It is pure.
func parseAnswer(block []byte) (*http.Response, error) {
	line, fields, _ := strings.Cut(strings.TrimSuffix(string(block), "\r\n\r\n"), "\r\n")
	version, rest, _ := strings.Cut(line, " ")
	if version != "HTTP/1.1" && version != "HTTP/1.0" || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
		return nil, fmt.Errorf("read answer: %w: status line", errAnswer)
	}
	status := 0
	for _, c := range []byte(rest[:3]) {
		if c < '0' || c > '9' {
			return nil, fmt.Errorf("read answer: %w: status", errAnswer)
		}
		status = status*10 + int(c-'0')
	}
	header, err := parseFields(fields, maxAnswerFields)
	if err != nil || status < 100 {
		return nil, fmt.Errorf("read answer: %w: %v", errAnswer, err)
	}
	resp := &http.Response{StatusCode: status, Proto: version, ProtoMajor: 1, ProtoMinor: int(version[7] - '0'), Header: header}
	return resp, nil
}

// frameAnswer finds the length of an answer's body, and its announced trailers
// (RFC 9112 section 6.3).
func frameAnswer(resp *http.Response, method string) (closes bool, err error) {
	lengths, codings := resp.Header["Content-Length"], resp.Header["Transfer-Encoding"]
	closes = resp.ProtoMinor == 0 || hasToken(resp.Header["Connection"], "close")
	resp.ContentLength = -1
	switch {
	case len(codings) > 0:
		if len(lengths) > 0 || len(codings) > 1 || !strings.EqualFold(codings[0], "chunked") || resp.ProtoMinor == 0 {
			return true, fmt.Errorf("read answer: %w: framing", errAnswer)
		}
		resp.TransferEncoding = codings
	case len(lengths) > 0:
		for _, other := range lengths[1:] {
			if other != lengths[0] {
				return true, fmt.Errorf("read answer: %w: two lengths", errAnswer)
			}
		}
		if resp.ContentLength, err = parseLength(lengths[0]); err != nil {
			return true, fmt.Errorf("read answer: %w: length", errAnswer)
		}
		resp.Header["Content-Length"] = lengths[:1]
	}
	if withoutBody(resp, method) {
		if method != http.MethodHead {
			resp.ContentLength = 0
		}
		return closes, nil
	}
	for _, value := range resp.Header["Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = textproto.TrimString(name); name != "" && resp.TransferEncoding != nil {
				resp.Trailer = withTrailers(resp.Trailer, http.Header{textproto.CanonicalMIMEHeaderKey(name): nil})
			}
		}
	}
	return closes || resp.ContentLength < 0 && resp.TransferEncoding == nil, nil
}

func withoutBody(resp *http.Response, method string) bool {
	return method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// unlisted are fields that no trailer may be (RFC 9110 section 6.5.1).
var unlisted = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Trailer": true}

func withTrailers(to, fields http.Header) http.Header {
	for name, values := range fields {
		if unlisted[name] {
			continue
		}
		if to == nil {
			to = make(http.Header)
		}
		to[name] = values
	}
	return to
}

// bodyOf is the body of an answer, or nil.
func bodyOf(br *bufio.Reader, resp *http.Response, method string) io.Reader {
	switch {
	case withoutBody(resp, method), resp.ContentLength == 0:
		return nil
	case resp.ContentLength > 0:
		return &lengthReader{br: br, n: resp.ContentLength}
	case resp.TransferEncoding != nil:
		return &chunkReader{br: br, answer: true}
	}
	return br // to the end of the connection
}

// cutExtension takes what an upstream may write behind the size of a chunk: an
// extension, and the blanks that some pad it with. A request may not.
func cutExtension(line []byte) []byte {
	line, _, _ = bytes.Cut(line, []byte(";"))
	return bytes.Trim(line, " \t")
}
