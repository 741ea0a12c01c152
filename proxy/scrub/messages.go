// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrCompressed is a message of a stream that is compressed by itself.
var ErrCompressed = errors.New("compressed message")

// framedTypes are the media types whose bodies are messages with a head of five
// bytes: flags, and a length of 32 bits (gRPC over HTTP/2, Connect's streams).
var framedTypes = []string{"application/grpc", "application/connect+"}

// Framed reports whether a body of this Content-Type is one for
// [Scrubber.Framed].
func Framed(contentType string) bool {
	contentType = strings.ToLower(contentType)
	for _, prefix := range framedTypes {
		if strings.HasPrefix(contentType, prefix) && !strings.HasPrefix(contentType, "application/grpc-web-text") {
			return true
		}
	}
	return false
}

const (
	framedHead     = 5
	flagCompressed = 1 // in gRPC, gRPC-Web and Connect
)

// Framed returns a reader of a stream of messages with the placeholders in it.
// It is [Scrubber.Reader] but for what ends with a message: four bytes at most
// that begin a pattern are not held back there, since the other side may wait
// for them before it says more. A message that is compressed ends the stream
// with [ErrCompressed].
//
// The messages are not taken for texts of their own: who can make a server send
// this content type, and some bytes before a credential, could otherwise have
// the credential cut in two.
func (s *Scrubber) Framed(src io.Reader) io.Reader {
	f := &framed{src: src}
	return &reader{scrubber: s, src: f, framed: f}
}

// framed passes src on and knows where in a message it is.
type framed struct {
	src  io.Reader
	head [framedHead]byte
	got  int    // bytes of head that have come
	left uint64 // bytes of the payload still to come
}

// between reports whether a message has just ended.
func (f *framed) between() bool { return f.got == 0 && f.left == 0 }

func (f *framed) Read(p []byte) (int, error) {
	n, err := f.src.Read(p)
	if broken := f.follow(p[:n]); broken != nil {
		return 0, broken
	}
	if err == io.EOF && !f.between() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// follow goes over what came.
func (f *framed) follow(p []byte) error {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left, p = f.left-n, p[n:]
			continue
		}
		n := copy(f.head[f.got:], p)
		f.got, p = f.got+n, p[n:]
		if f.head[0]&flagCompressed != 0 {
			return fmt.Errorf("scrub messages: %w", ErrCompressed)
		}
		if f.got == framedHead {
			f.got, f.left = 0, uint64(binary.BigEndian.Uint32(f.head[1:]))
		}
	}
	return nil
}
