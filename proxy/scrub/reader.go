// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"io"
	"sync"
)

// windowSize is what a stream reads at once: two TLS records.
const windowSize = 32 << 10

var windows = sync.Pool{New: func() any { return &window{buf: make([]byte, windowSize)} }}

// window is the part of a stream that is in memory.
//
//	buf  | given away | ready | held back | free |
//	     0          start   ready        end
type window struct {
	buf               []byte
	start, ready, end int
}

// openWindow takes a window from the pool; close gives it back.
func openWindow() *window {
	w := windows.Get().(*window)
	w.start, w.ready, w.end = 0, 0, 0
	return w
}

func (w *window) close() {
	clear(w.buf)
	if len(w.buf) == windowSize {
		windows.Put(w)
	}
}

// fill reads once from src, limit bytes at most, and scrubs what came.
func (w *window) fill(s *Scrubber, src io.Reader, limit uint64) (n int, err error) {
	w.compact()
	free := w.buf[w.end:]
	n, err = src.Read(free[:min(uint64(len(free)), limit)])
	w.end += n
	w.scan(s, false)
	return n, err
}

// compact moves what is left to the front and makes room behind it. What is
// held back is bounded by the longest pattern; a window grows for very long
// credentials alone.
func (w *window) compact() {
	copy(w.buf, w.buf[w.start:w.end])
	w.ready, w.end, w.start = w.ready-w.start, w.end-w.start, 0
	if w.end > len(w.buf)/2 {
		grown := make([]byte, 2*len(w.buf))
		copy(grown, w.buf[:w.end])
		clear(w.buf)
		w.buf = grown
	}
}

// scan scrubs what is not ready. With last, the end, nothing is held back.
func (w *window) scan(s *Scrubber, last bool) {
	w.ready += s.scan(w.buf[w.ready:w.end], last)
}

// take copies what is ready.
func (w *window) take(p []byte) int {
	n := copy(p, w.buf[w.start:w.ready])
	w.start += n
	return n
}

func (w *window) waiting() int { return w.ready - w.start }

// Reader returns a reader of src with the placeholders in it. It reads from src
// only when it has nothing to give, and then once, unless all of it is held
// back. What is held back when src fails is not given away.
func (s *Scrubber) Reader(src io.Reader) io.Reader { return &reader{scrubber: s, src: src} }

type reader struct {
	scrubber *Scrubber
	src      io.Reader
	window   *window
	err      error // sticky, told when the window is empty
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.window == nil && r.err == nil {
		r.window = openWindow()
	}
	for r.err == nil && r.window.waiting() == 0 {
		if _, r.err = r.window.fill(r.scrubber, r.src, windowSize); r.err == io.EOF {
			r.window.scan(r.scrubber, true)
		}
	}
	n := 0
	if r.window != nil {
		n = r.window.take(p)
	}
	if r.err == nil || r.window != nil && r.window.waiting() > 0 {
		return n, nil
	}
	if r.window != nil {
		r.window.close()
		r.window = nil
	}
	return n, r.err
}
