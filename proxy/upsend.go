// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

var (
	errUnsendable = errors.New("request cannot be written")
	errNotSent    = errors.New("body was not sent whole")
)

// sendGrace is how long the rest of a request may take to leave once its answer
// has been read; a connection on which it takes longer is not kept.
const sendGrace = 50 * time.Millisecond

// requestBuffers hold heads, and bodies on their way.
var requestBuffers = sync.Pool{New: func() any { b := make([]byte, 0, copyBufferSize); return &b }}

// send writes the head of req, and begins to write its body.
func (c *upConn) send(req *http.Request) error {
	buf := requestBuffers.Get().(*[]byte)
	head, err := appendRequest((*buf)[:0], req)
	if err != nil {
		requestBuffers.Put(buf)
		return err
	}
	*buf = head
	if req.Body == nil || req.Body == http.NoBody {
		defer freeRequestBuffer(buf) // it has the credential in it
		return stale(c.write(head))
	}
	c.sending = &sending{
		conn: c, body: req.Body, left: req.ContentLength, expects: len(req.Header["Expect"]) > 0,
		done: make(chan struct{}), proceed: make(chan bool, 1),
	}
	// A short body of known length goes out with the head, in one record.
	c.sending.together = c.sending.left > 0 && c.sending.left <= copyBufferSize/2 && !c.sending.expects
	if !c.sending.together {
		if err := c.write(head); err != nil {
			freeRequestBuffer(buf)
			c.sending = nil
			return stale(err)
		}
		clear(head)
		*buf = head[:0]
	}
	go c.sending.run(buf)
	return nil
}

// write gives an upstream that does not read as long as an agent that does not.
func (c *upConn) write(p []byte) error {
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(p)
	return err
}

func freeRequestBuffer(buf *[]byte) {
	clear((*buf)[:cap(*buf)])
	if cap(*buf) <= 2*copyBufferSize {
		*buf = (*buf)[:0]
		requestBuffers.Put(buf)
	}
}

// stale marks an error of a connection that may have been closed before the
// request came.
func stale(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write request: %w: %w", errStale, err)
}

// appendRequest writes a head, each field judged once more: this is where it
// becomes bytes.
func appendRequest(b []byte, req *http.Request) ([]byte, error) {
	b = append(append(b, req.Method...), ' ')
	b = append(b, req.URL.RequestURI()...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), req.Host...), "\r\n"...)
	var room [32]string
	names := room[:0]
	for name, values := range req.Header {
		if !validField(name, values) {
			return b, fmt.Errorf("write request: %w", errUnsendable)
		}
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range req.Header[name] {
			b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
		}
	}
	hasBody := req.Body != nil && req.Body != http.NoBody
	switch {
	case hasBody && req.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case hasBody || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH":
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), max(req.ContentLength, 0), 10), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// sending writes a request's body beside the reading of its answer, which may
// come first.
type sending struct {
	conn     *upConn
	body     io.ReadCloser
	left     int64 // of a stated length; -1: in chunks
	together bool  // the buffer holds the head
	expects  bool  // the upstream is asked first
	broken   bool  // it was the upstream that failed
	proceed  chan bool
	done     chan struct{}
	err      error // once done is closed

	mu       sync.Mutex
	answered bool
}

func (s *sending) run(buf *[]byte) {
	defer close(s.done)
	defer freeRequestBuffer(buf)
	defer s.body.Close()
	if s.err = s.wait(); s.err == nil {
		s.err = s.copy(buf)
	}
	s.settle()
}

// settle gives the upstream its time to answer, or ends the connection: it must
// not take the request for whole. Where it was the upstream that would not read,
// its answer may be on its way.
func (s *sending) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err == nil && !s.answered:
		s.conn.conn.SetReadDeadline(time.Now().Add(upstreamHead))
	case s.err == nil, errors.Is(s.err, errNotSent), s.broken && s.answered:
	case s.broken:
		s.conn.conn.SetReadDeadline(time.Now().Add(expectContinue))
	default:
		s.conn.close()
	}
}

// stop notes that the answer has begun: a body that nobody asked for stays.
func (s *sending) stop() {
	select {
	case s.proceed <- false:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = true
	s.conn.conn.SetReadDeadline(time.Time{})
}

// wait holds a body back until the upstream asks for it, has answered without
// it, or has taken its time.
func (s *sending) wait() error {
	if !s.expects {
		return nil
	}
	timer := time.NewTimer(expectContinue)
	defer timer.Stop()
	select {
	case ask := <-s.proceed:
		if !ask {
			return errNotSent
		}
	case <-timer.C:
	}
	return nil
}

// chunkRoom is what is kept free in front of a chunk for its length.
const chunkRoom = 8

func (s *sending) copy(buf *[]byte) error {
	chunked, b := s.left < 0, (*buf)[:cap(*buf)]
	from := chunkRoom
	if s.together {
		from = len(*buf)
		*buf = slices.Grow(*buf, int(s.left)+chunkRoom)
		b = (*buf)[:cap(*buf)]
	}
	at := from
	for {
		n, err := s.body.Read(b[at : len(b)-2])
		at += n
		if s.left -= int64(n); !chunked && s.left < 0 {
			return io.ErrShortWrite // more than was stated
		}
		end := err == io.EOF
		if err != nil && !end {
			return err
		}
		if end && !chunked && s.left > 0 {
			return io.ErrUnexpectedEOF
		}
		if n > 0 && !(s.together && s.left > 0) {
			if err := s.emit(b, from, at, chunked); err != nil {
				return err
			}
			from, at, s.together = chunkRoom, chunkRoom, false
		}
		if end {
			return s.last(chunked)
		}
	}
}

// emit writes what stands in b, behind the head where that is still in it, or as
// a chunk.
func (s *sending) emit(b []byte, from, to int, chunked bool) error {
	switch {
	case s.together:
		from = 0
	case chunked:
		var digits [chunkRoom]byte
		size := append(strconv.AppendInt(digits[:0], int64(to-from), 16), "\r\n"...)
		copy(b[from-len(size):], size)
		from -= len(size)
		to += copy(b[to:], "\r\n")
	}
	return s.write(b[from:to])
}

func (s *sending) last(chunked bool) error {
	if !chunked {
		return nil
	}
	return s.write([]byte("0\r\n\r\n"))
}

func (s *sending) write(p []byte) error {
	err := s.conn.write(p)
	s.broken = err != nil
	return err
}

// ended reports whether the body has gone out whole. With grace it waits a
// little for that.
func (s *sending) ended(grace bool) bool {
	select {
	case <-s.done:
		return s.err == nil
	default:
	}
	if !grace {
		return false
	}
	timer := time.NewTimer(sendGrace)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.err == nil
	case <-timer.C:
		return false
	}
}
