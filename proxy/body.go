// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
)

// maxChunkLine bounds a chunk-size line: 15 hexadecimal digits and CRLF. More
// digits could overflow an int64.
const maxChunkLine = 17

// maxTrailerBytes bounds the trailers of one request, which are read and
// dropped.
const maxTrailerBytes = 8 << 10

var (
	errChunk   = errors.New("read body: malformed chunk")
	errTrailer = errors.New("read body: malformed trailer")
)

// lengthReader reads exactly n bytes, and io.ErrUnexpectedEOF where the
// connection ends before.
type lengthReader struct {
	br *bufio.Reader
	n  int64
}

func (r *lengthReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.n {
		p = p[:r.n]
	}
	n, err := r.br.Read(p)
	r.n -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && r.n == 0 {
		err = io.EOF
	}
	return n, err
}

// chunkReader reads a chunked body of the strict form: size lines of
// hexadecimal digits alone, CRLF everywhere, no extensions (RFC 9112 section
// 7.1 lets a recipient ignore them; parsers that differ on where they end are
// how requests are smuggled). Trailers are checked and dropped. It reads on
// while whole chunks are in the buffer: small ones leave together.
type chunkReader struct {
	br   *bufio.Reader
	left int64 // of the current chunk
	open bool  // a chunk was begun and its CRLF is still to come
	err  error // sticky
	// answer is a body of an upstream: extensions are ignored, trailers kept.
	answer bool
	fields http.Header
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	total := 0
	for total < len(p) && (total == 0 || r.waiting()) {
		if r.left == 0 {
			if r.err = r.next(); r.err != nil {
				break
			}
		}
		n, err := r.br.Read(p[total:min(int64(len(p)), int64(total)+r.left)])
		r.left -= int64(n)
		total += n
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if r.err = err; err != nil {
			break
		}
	}
	return total, r.err
}

// waiting reports whether more of the body can be read without waiting: what is
// left of a chunk, or the end of one and the line of the next.
func (r *chunkReader) waiting() bool {
	if r.left > 0 || r.br.Buffered() <= len("\r\n") {
		return r.left > 0 && r.br.Buffered() > 0
	}
	buffered, _ := r.br.Peek(min(r.br.Buffered(), 2+maxChunkLine))
	return buffered[2] != '0' && bytes.IndexByte(buffered[2:], '\n') >= 0
}

// next reads up to the first byte of the next chunk, or io.EOF.
func (r *chunkReader) next() error {
	if r.open {
		if err := r.end(); err != nil {
			return err
		}
	}
	size, err := r.size()
	if err != nil {
		return err
	}
	if size == 0 {
		return r.trailers()
	}
	r.left, r.open = size, true
	return nil
}

// line returns one line without its CRLF. It is valid until the next read.
func (r *chunkReader) line(limit int, malformed error) ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, malformed
	case err == io.EOF:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(line) > limit {
		return nil, malformed
	}
	return text, nil
}

func (r *chunkReader) end() error {
	text, err := r.line(2, errChunk)
	if err == nil && len(text) != 0 {
		err = errChunk
	}
	return err
}

func (r *chunkReader) size() (int64, error) {
	limit := maxChunkLine
	if r.answer {
		limit = h1ReadBuffer
	}
	text, err := r.line(limit, errChunk)
	if err != nil {
		return 0, err
	}
	if r.answer {
		if text = cutExtension(text); len(text) > maxChunkLine-2 {
			return 0, errChunk
		}
	}
	if len(text) == 0 {
		return 0, errChunk
	}
	var size int64
	for _, c := range text {
		digit, ok := hexDigit(c)
		if !ok {
			return 0, errChunk
		}
		size = size<<4 | digit
	}
	return size, nil
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int64(c - '0'), true
	case c >= 'a' && c <= 'f':
		return int64(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}

func (r *chunkReader) trailers() error {
	for total := 0; total <= maxTrailerBytes; {
		text, err := r.line(maxTrailerBytes, errTrailer)
		if err != nil {
			return err
		}
		if len(text) == 0 {
			return io.EOF
		}
		name, value, ok := bytes.Cut(text, []byte(":"))
		if !ok || !validName(string(name)) || !validValue(string(value)) {
			return errTrailer
		}
		if r.answer {
			if r.fields == nil {
				r.fields = make(http.Header)
			}
			r.fields.Add(string(name), string(bytes.Trim(value, " \t")))
		}
		total += len(text) + 2
	}
	return errTrailer
}
