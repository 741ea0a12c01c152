// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxChunk bounds one chunk of a signed stream, in bytes: it has to be there
// before its signature can be written in front of it. SDKs send 64 or 128 KiB.
const MaxChunk = 1 << 20

// maxStreamLine bounds the line in front of a chunk and each of the trailer's.
const maxStreamLine = 4 << 10

// ErrStream is a body that is no signed stream, or has a chunk longer than
// [MaxChunk].
var ErrStream = errors.New("read body: malformed chunk of a signed stream")

const (
	chunkMark   = ";chunk-signature="
	trailerMark = "x-amz-trailer-signature:"
)

// Stream signs the chunks of a body. It is made once for a request; [Stream.Reader]
// is used for each time that the body is sent.
type Stream struct {
	key     []byte
	context string // "\nTIME\nSCOPE\n"
	seed    string
	trailer bool
}

// Stream is the signer of a body whose chunks are signed, after [Signature.Sign];
// nil where none are.
func (s *Signature) Stream(keys Keys) *Stream {
	if !s.Streams() {
		return nil
	}
	return &Stream{
		key: signingKey(keys.Secret, s.scope), context: "\n" + s.time + "\n" + s.scope + "\n",
		seed: s.value, trailer: s.payload == streamTrailer,
	}
}

// Reader is body with its chunks signed. It is as long as body.
func (s *Stream) Reader(body io.Reader) io.Reader {
	return &streamReader{stream: s, source: bufio.NewReaderSize(body, maxStreamLine), last: s.seed}
}

// streamReader signs one chunk at a time.
type streamReader struct {
	stream *Stream
	source *bufio.Reader
	last   string // signature of the chunk before
	chunk  bytes.Buffer
	err    error
}

func (r *streamReader) Read(p []byte) (int, error) {
	for r.chunk.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.chunk.Reset()
		r.err = r.next()
	}
	n, _ := r.chunk.Read(p)
	return n, nil
}

// next puts the next chunk, signed, into the buffer; io.EOF with the last.
func (r *streamReader) next() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	digits, old, found := strings.Cut(line, chunkMark)
	size, err := strconv.ParseUint(digits, 16, 32)
	if !found || !isDigest(old) || err != nil || size > MaxChunk {
		return ErrStream
	}
	head := len(digits) + len(chunkMark) + len(old) + 2
	r.chunk.Grow(head + int(size) + 2)
	r.chunk.WriteString(line + "\r\n")
	if _, err := io.CopyN(&r.chunk, r.source, int64(size)); err != nil {
		return endedEarly(err)
	}
	r.last = hexMAC(r.stream.key, algorithm+"-PAYLOAD"+r.stream.context+r.last+"\n"+hashOf(nil)+"\n"+hashOf(r.chunk.Bytes()[head:]))
	copy(r.chunk.Bytes()[head-2-len(old):], r.last)
	if size == 0 {
		return r.end()
	}
	return r.newline()
}

// end reads what follows the last chunk: an empty line, and before it the
// trailer where there is one.
func (r *streamReader) end() error {
	covered := ""
	for {
		line, err := r.line()
		switch {
		case err != nil:
			return err
		case line == "":
			r.chunk.WriteString("\r\n")
			return r.finish()
		case !r.stream.trailer || len(covered) > maxStreamLine:
			return ErrStream
		}
		if old, ours := strings.CutPrefix(line, trailerMark); ours {
			if !isDigest(old) {
				return ErrStream
			}
			line = trailerMark + hexMAC(r.stream.key, algorithm+"-TRAILER"+r.stream.context+r.last+"\n"+hashOf([]byte(covered)))
		} else {
			covered += strings.TrimRight(line, "\n") + "\n"
		}
		r.chunk.WriteString(line + "\r\n")
	}
}

// finish wants nothing more to come.
func (r *streamReader) finish() error {
	if _, err := r.source.ReadByte(); err != io.EOF {
		if err == nil {
			err = ErrStream
		}
		return err
	}
	return io.EOF
}

func (r *streamReader) newline() error {
	line, err := r.line()
	if err == nil && line != "" {
		err = ErrStream
	}
	r.chunk.WriteString("\r\n")
	return err
}

// line returns a line without its CRLF.
func (r *streamReader) line() (string, error) {
	line, err := r.source.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", ErrStream
	}
	if err != nil {
		return "", endedEarly(err)
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return "", ErrStream
	}
	return string(text), nil
}

func endedEarly(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read signed stream: %w", err)
}

func isDigest(text string) bool {
	digest, err := hex.DecodeString(text)
	return err == nil && len(digest) == 32
}
