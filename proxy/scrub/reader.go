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
//
// Of what is held back, the bytes before loose are given away all the same; they
// stay, so that the rest of what they may begin is found. Of what is ready, the
// bytes from limit on are not given away yet: see hold.
type window struct {
	buf                             []byte
	start, ready, end, loose, limit int
	guess                           []*pattern // what is held back was counted as a guess of them
	tail, seen                      int        // of a wary stream: see filter.tail
}

// maxLoose is how much of what is held back at the end of a message may be given
// away: of a credential that begins there the agent then reads as much, a
// quarter of the shortest. That is the "sk-" or "ghp_" that all have.
const maxLoose = MinLength / 4

// maxAlike is how much of what is held back may be given away because the
// placeholder reads the same there. The longest of the prefixes that providers
// give their keys has 14 characters.
const maxAlike = 16

// openWindow takes a window from the pool; close gives it back.
func openWindow() *window { return windows.Get().(*window) }

func (w *window) close() {
	clear(w.buf)
	*w = window{buf: w.buf}
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

// compact moves what is left to the front, where little room is behind it, and
// makes more. What is held back is bounded by the longest pattern; a window grows
// for very long credentials alone.
func (w *window) compact() {
	if len(w.buf)-w.end >= windowSize/2 {
		return
	}
	done := min(w.start, w.ready)
	copy(w.buf, w.buf[done:w.end])
	w.start, w.ready, w.end = w.start-done, w.ready-done, w.end-done
	w.loose, w.limit = max(w.loose-done, 0), w.limit-done
	w.tail, w.seen = max(w.tail-done, 0), max(w.seen-done, 0)
	if w.end > len(w.buf)/2 {
		grown := make([]byte, 2*len(w.buf))
		copy(grown, w.buf[:w.end])
		clear(w.buf)
		w.buf = grown
	}
}

// scan scrubs what is not ready. With last, the end, nothing is held back.
func (w *window) scan(s *Scrubber, last bool) {
	text := w.buf[w.ready:w.end]
	if len(w.guess) > 0 {
		w.settle(s, text, last)
	}
	w.ready += s.scan(text, last)
	w.limit = w.end
}

// loosen gives away what is held back, when the agent learns nothing by it, or
// little and the other side waits.
func (w *window) loosen(s *Scrubber, awaited bool) {
	held := w.buf[min(w.ready, w.limit):w.end]
	if awaited && len(held) <= maxLoose || !s.guesses.wary.Load() && s.alike(held) {
		w.loose, w.limit = w.end, w.end
	}
}

// alike reports whether held, the end of a stream so far, is written the same
// in each credential that begins in it and in its placeholder: what it will
// become does not depend on what comes.
func (s *Scrubber) alike(held []byte) bool {
	if len(held) > maxAlike {
		return false
	}
	t := s.table()
	for i, c := range held {
		if escapes[c] {
			return false
		}
		for _, k := range t.starts[c] {
			p := &t.patterns[k]
			if _, more := p.match(held[i:], false); more && !p.keeps(held[i:]) {
				return false
			}
		}
	}
	return true
}

// take copies what is to be given away.
func (w *window) take(p []byte) int {
	n := copy(p, w.buf[w.start:w.start+w.waiting()])
	w.start += n
	return n
}

func (w *window) waiting() int { return min(max(w.ready, w.loose), w.limit) - w.start }

// Reader returns a reader of src with the placeholders in it. It reads from src
// only when it has nothing to give, and then once, unless all of it is held
// back. What is held back when src fails is not given away.
func (s *Scrubber) Reader(src io.Reader) io.Reader { return &reader{scrubber: s, src: src} }

type reader struct {
	scrubber *Scrubber
	src      io.Reader
	window   *window
	framed   *framed // nil: one text
	err      error   // sticky, told when the window is empty
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.window == nil && r.err == nil {
		r.window = openWindow()
	}
	for r.err == nil && r.window.waiting() == 0 {
		r.err = r.fill()
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

func (r *reader) fill() error {
	_, err := r.window.fill(r.scrubber, r.src, windowSize)
	if err == io.EOF {
		r.window.scan(r.scrubber, true)
	} else {
		r.window.hold(r.scrubber)
		r.window.loosen(r.scrubber, r.framed != nil && r.framed.between())
	}
	return err
}
