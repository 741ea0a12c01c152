// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"io"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/scrub"
)

// leg is one side of a WebSocket.
type leg interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
}

// Status codes of RFC 6455, section 7.4.1, and of the registry it began.
const (
	closePolicy  = 1008 // the rules refuse it now
	closeRestart = 1012 // come again
)

// partingTimeout is how long the two sides of a WebSocket that is ended have to
// read the close frame. What they send meanwhile is read and goes nowhere.
const partingTimeout = 500 * time.Millisecond

// webSocket is what is joined behind a 101.
type webSocket struct {
	down, up leg
	parting  atomic.Uint32 // status code of the close frame that is due; else 0
	halted   chan struct{} // closed when both sides' reads have been woken
}

func newWebSocket(down, up leg) *webSocket {
	return &webSocket{down: down, up: up, halted: make(chan struct{})}
}

// end has both sides told, by a close frame where their stream is between two
// frames, and then closes them. Nothing that either sends from now on reaches
// the other, but what is being written.
func (w *webSocket) end(code uint32) {
	if !w.parting.CompareAndSwap(0, code) {
		return
	}
	past := time.Unix(1, 0)
	w.down.SetReadDeadline(past)
	w.up.SetReadDeadline(past)
	close(w.halted)
	time.AfterFunc(partingTimeout, w.close) // also of one that does not read
}

func (w *webSocket) close() {
	w.down.Close()
	w.up.Close()
}

// join copies both ways until both have ended: what goes down is read from
// frames, what goes up must be frames. When one way has ended, the other has
// halfCloseTimeout.
func (w *webSocket) join(frames io.Reader) (in, out int64) {
	ended := make(chan struct{}, 2)
	go func() {
		in = w.joinHalf(w.up, scrub.ClientFrames(w.down), w.down, true)
		ended <- struct{}{}
	}()
	go func() {
		out = w.joinHalf(w.down, frames, w.up, false)
		ended <- struct{}{}
	}()
	<-ended
	timer := time.AfterFunc(halfCloseTimeout, w.close)
	<-ended
	timer.Stop()
	w.close()
	return in, out
}

// joinHalf copies one direction and passes its end on. src reads from source.
func (w *webSocket) joinHalf(dst leg, src io.Reader, source leg, masked bool) (n int64) {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	frames, framed := src.(scrub.FrameReader)
	for {
		between := framed && frames.Between()
		m, err := src.Read(buf[:])
		// A read that a deadline has woken still returns what came before it ran:
		// the answer to the close frame of the other direction, for one.
		if code := w.parting.Load(); code != 0 {
			w.part(dst, source, between, closeFrame(code, masked), buf[:])
			return n
		}
		if m > 0 {
			if _, werr := dst.Write(buf[:m]); werr != nil {
				source.Close()
				return n
			}
			n += int64(m)
		}
		if err != nil {
			if err != io.EOF || dst.CloseWrite() != nil {
				dst.Close()
			}
			return n
		}
	}
}

// part says that this direction has ended, where what it wrote last was a whole
// frame, and reads on so that closing resets nothing that the other side has yet
// to read.
func (w *webSocket) part(dst, source leg, between bool, frame, buf []byte) {
	<-w.halted // whose deadline would end the reading here
	if !between {
		dst.Close()
	} else if _, err := dst.Write(frame); err != nil || dst.CloseWrite() != nil {
		dst.Close()
	}
	source.SetReadDeadline(time.Now().Add(partingTimeout))
	for {
		if _, err := source.Read(buf); err != nil {
			return
		}
	}
}

// closeFrame is a close frame without a text (RFC 6455, section 5.5.1). A
// client's is masked; a key of zeros hides nothing, and nothing is to be hidden
// from proxies behind verified TLS.
func closeFrame(code uint32, masked bool) []byte {
	frame := []byte{0x88, 2}
	if masked {
		frame = []byte{0x88, 0x82, 0, 0, 0, 0}
	}
	return binary.BigEndian.AppendUint16(frame, uint16(code))
}
