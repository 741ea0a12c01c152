// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// maxReplay is how much of a request's body is kept, so that a request can be
// sent again when the upstream closed an idle connection just as we wrote to
// it. It covers the JSON of an API call, not an upload.
const maxReplay = 64 << 10

var (
	errBodyClosed = errors.New("read body: exchange has ended")
	errNoReplay   = errors.New("read body: too much was sent to send it again")
)

// requestBody is a request's body as it comes from the agent. The transport may
// read it from another goroutine, and go on after the answer has come, so it is
// locked and can be stopped.
type requestBody struct {
	src       io.Reader
	before    func() error // before each read: deadlines, 100 Continue
	interrupt func()       // makes a read in progress fail

	n       atomic.Int64
	outcome atomic.Pointer[error] // how it ended; io.EOF: complete
	stopped atomic.Bool

	mu       sync.Mutex // held during a read, so for as long as the agent likes
	attempts int
	kept     []byte // all read so far, while that is at most maxReplay
	replay   bool   // kept is complete
}

func newRequestBody(src io.Reader) *requestBody {
	return &requestBody{src: src, replay: true}
}

// attempt returns the body for the first try.
func (b *requestBody) attempt() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	return &bodyAttempt{body: b, number: b.attempts}
}

// again returns the body for one more try, from its beginning. It is
// http.Request's GetBody.
func (b *requestBody) again() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.replay || b.stopped.Load() {
		return nil, errNoReplay
	}
	b.attempts++
	return &bodyAttempt{body: b, number: b.attempts, again: bytes.Clone(b.kept)}, nil
}

func (b *requestBody) read(number int, p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if number != b.attempts {
		return 0, errBodyClosed
	}
	if err := b.outcome.Load(); err != nil {
		return 0, *err
	}
	if b.before != nil {
		if err := b.before(); err != nil {
			b.outcome.Store(&err)
			return 0, err
		}
	}
	// After before, which sets a deadline that interrupt takes back.
	if b.stopped.Load() {
		return 0, errBodyClosed
	}
	n, err := b.src.Read(p)
	b.n.Add(int64(n))
	b.keep(p[:n])
	if err != nil {
		b.outcome.Store(&err)
	}
	return n, err
}

func (b *requestBody) keep(p []byte) {
	if !b.replay {
		return
	}
	if b.n.Load() > maxReplay {
		b.replay, b.kept = false, nil
		return
	}
	b.kept = append(b.kept, p...)
}

// stop ends all reading and waits for a read in progress. It reports whether
// the body was read to its end.
func (b *requestBody) stop() (complete bool) {
	b.stopped.Store(true)
	if !b.mu.TryLock() {
		if b.interrupt != nil {
			b.interrupt()
		}
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	return b.ended() && b.failure() == nil
}

// failure is how reading ended before its end, or nil.
func (b *requestBody) failure() error {
	if err := b.outcome.Load(); err != nil && *err != io.EOF {
		return *err
	}
	return nil
}

func (b *requestBody) ended() bool { return b.outcome.Load() != nil }

func (b *requestBody) count() int64 { return b.n.Load() }

// bodyAttempt is the body as one try of the transport sees it. A later try
// takes the source away from it.
type bodyAttempt struct {
	body   *requestBody
	number int
	again  []byte
}

func (a *bodyAttempt) Read(p []byte) (int, error) {
	if len(a.again) > 0 {
		n := copy(p, a.again)
		a.again = a.again[n:]
		return n, nil
	}
	return a.body.read(a.number, p)
}

func (a *bodyAttempt) Close() error { return nil }
