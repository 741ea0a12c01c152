// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// h1Writer writes one answer in HTTP/1.1.
type h1Writer struct {
	conn  *h1
	x     *exchange
	bw    *bufio.Writer
	close bool // the connection ends with this answer
	watch *watch

	chunked bool
	mu      sync.Mutex // proceed runs in the transport's goroutine
	asked   bool       // 100 Continue was sent
	begun   bool       // the final head was written
}

func (l *h1) writer(x *exchange, close bool) *h1Writer {
	bw := h1Writers.Get().(*bufio.Writer)
	bw.Reset(deadlineWriter{l})
	return &h1Writer{conn: l, x: x, bw: bw, close: close}
}

// abort closes the connection under TLS, so that no end is announced.
func (w *h1Writer) abort() { w.conn.conn.Close() }

func (w *h1Writer) free() {
	w.bw.Reset(nil)
	h1Writers.Put(w.bw)
	w.bw = nil
}

// deadlineWriter gives each write of the buffer a deadline of its own.
type deadlineWriter struct{ conn *h1 }

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.conn.rw.SetWriteDeadline(time.Now().Add(writeTimeout))
	return w.conn.rw.Write(p)
}

// proceed asks the client for the body it holds back, once, and never after the
// answer has begun.
func (w *h1Writer) proceed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked {
		return nil
	}
	if w.begun {
		return errBodyClosed
	}
	w.asked = true
	_, err := deadlineWriter{w.conn}.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	return err
}

// awaited reports whether the client still holds its body back: nobody knows
// then whether what comes next is that body.
func (w *h1Writer) awaited() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.x.expect && !w.asked
}

func (w *h1Writer) head(status int, header http.Header, length int64, bodyless bool) error {
	w.mu.Lock()
	w.begun = true
	w.mu.Unlock()
	w.chunked = !bodyless && (length < 0 || len(header["Trailer"]) > 0)
	if w.awaited() || !w.keeps() {
		w.close = true
	}
	w.statusLine(status)
	w.fields(header)
	switch {
	case bodyless:
	case w.chunked:
		w.bw.WriteString("Transfer-Encoding: chunked\r\n")
	default:
		var digits [20]byte
		w.bw.WriteString("Content-Length: ")
		w.bw.Write(strconv.AppendInt(digits[:0], length, 10))
		w.bw.WriteString("\r\n")
	}
	if w.close {
		w.bw.WriteString("Connection: close\r\n")
	}
	_, err := w.bw.WriteString("\r\n")
	return err
}

// keeps reports whether the rest of the request's body is worth reading for the
// connection's sake.
func (w *h1Writer) keeps() bool {
	body := w.x.body
	if body == nil || body.ended() {
		return body == nil || body.failure() == nil
	}
	return w.x.length < 0 || w.x.length-body.count() <= maxDrain
}

func (w *h1Writer) statusLine(status int) {
	var digits [3]byte
	w.bw.WriteString("HTTP/1.1 ")
	w.bw.Write(strconv.AppendInt(digits[:0], int64(status), 10))
	w.bw.WriteString(" ")
	w.bw.WriteString(statusText(status))
	w.bw.WriteString("\r\n")
}

// statusText never has a text of the upstream's.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "Status"
}

func (w *h1Writer) fields(header http.Header) {
	for name, values := range header {
		for _, value := range values {
			w.bw.WriteString(name)
			w.bw.WriteString(": ")
			w.bw.WriteString(value)
			w.bw.WriteString("\r\n")
		}
	}
}

func (w *h1Writer) Write(p []byte) (int, error) {
	if !w.chunked {
		return w.bw.Write(p)
	}
	var digits [16]byte
	w.bw.Write(strconv.AppendInt(digits[:0], int64(len(p)), 16))
	w.bw.WriteString("\r\n")
	n, _ := w.bw.Write(p)
	_, err := w.bw.WriteString("\r\n") // a bufio.Writer's first error stays
	return n, err
}

func (w *h1Writer) flush() error { return w.bw.Flush() }

// end completes the answer. Trailers need chunks; an answer without them has
// nowhere to put any.
func (w *h1Writer) end(trailer http.Header) error {
	if w.chunked {
		w.bw.WriteString("0\r\n")
		w.fields(trailer)
		w.bw.WriteString("\r\n")
	}
	return w.bw.Flush()
}

// upgrade writes the head of a 101 and gives the connection up: from here on
// its bytes are the WebSocket's.
func (w *h1Writer) upgrade(header http.Header) (leg, error) {
	w.mu.Lock()
	w.begun = true
	w.mu.Unlock()
	w.statusLine(http.StatusSwitchingProtocols)
	w.fields(header)
	w.bw.WriteString("\r\n")
	if err := w.bw.Flush(); err != nil {
		return nil, err
	}
	w.watch.stop() // from here on the WebSocket reads
	w.conn.given = true
	w.conn.rw.SetDeadline(time.Time{})
	return givenConn{w.conn}, nil
}

// givenConn reads what the head reader has buffered, then the connection.
type givenConn struct{ conn *h1 }

func (g givenConn) Read(p []byte) (int, error)  { return g.conn.br.Read(p) }
func (g givenConn) Write(p []byte) (int, error) { return deadlineWriter{g.conn}.Write(p) }
func (g givenConn) Close() error                { return g.conn.rw.Close() }

func (g givenConn) SetReadDeadline(at time.Time) error { return g.conn.rw.SetReadDeadline(at) }

func (g givenConn) CloseWrite() error {
	if cw, ok := g.conn.rw.(closeWriter); ok {
		return cw.CloseWrite()
	}
	return nil
}
