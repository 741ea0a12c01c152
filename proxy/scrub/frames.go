// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFrame is a WebSocket frame that a server must not send, or one of an
// extension, of which none was negotiated (RFC 6455 section 5).
var ErrFrame = errors.New("malformed websocket frame")

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPong         = 10

	finBit  = 0x80
	rsvBits = 0x70
	maskBit = 0x80

	maxControl = 125 // payload of a control frame
	maxHead    = 10  // of an unmasked frame
)

// Frames returns a reader of the frames that a WebSocket server sends in src,
// with the placeholders in them. It reads what follows on the server's 101.
//
// A credential is found across the fragments of one message, not across
// messages. A message of one frame stays one frame of the same length. Of a
// fragmented message the fragments' bounds may move: what is held back at the
// end of one is sent with the next. A control frame is passed on where it came,
// its payload scrubbed by itself.
//
// A frame outside the protocol ends the stream with [ErrFrame], before a byte
// of it.
func (s *Scrubber) Frames(src io.Reader) FrameReader { return &frames{scrubber: s, src: src} }

// FrameReader reads the frames of one direction of a WebSocket.
type FrameReader interface {
	io.Reader
	// Between reports whether what was read so far ends with a frame: another one
	// may follow it.
	Between() bool
}

// Between: of the last frame of a message the head is given away before its
// payload has come, of all others when it is there.
func (f *frames) Between() bool {
	if len(f.out) > 0 || f.window != nil && f.window.waiting() > 0 {
		return false
	}
	return !f.in || !f.fin || f.left == 0
}

// frames goes through a stream frame by frame. What it gives away is out, a head
// or a whole control frame, and then what is ready in window.
type frames struct {
	scrubber *Scrubber
	src      io.Reader
	window   *window // of the payload of a message; nil between messages
	err      error   // sticky

	out   []byte                         // what is to be given away first: part of small
	small [maxHead + maxControl + 2]byte // a head, or a whole control frame

	left uint64 // bytes of the current frame's payload still to come
	fin  bool   // the current frame ends its message
	in   bool   // a payload is under way
	open bool   // a fragmented message is under way
	op   byte   // of the next frame to be sent: the message's, then continuation
}

func (f *frames) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.err == nil && !f.sendable() {
		f.err = f.step()
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	if len(f.out) == 0 && f.window != nil {
		n += f.window.take(p[n:])
	}
	if n == 0 {
		f.release()
		return 0, f.err
	}
	return n, nil
}

// sendable reports whether there is something to give away: not a head alone
// whose payload is to come.
func (f *frames) sendable() bool {
	return f.window != nil && f.window.waiting() > 0 || len(f.out) > 0 && (!f.in || f.left == 0)
}

func (f *frames) release() {
	if f.window != nil {
		f.window.close()
		f.window = nil
	}
}

// step goes on to where there is something to give away.
func (f *frames) step() error {
	switch {
	case !f.in:
		return f.next()
	case f.left == 0:
		f.in = false
		if f.fin {
			f.release()
		}
		return nil
	}
	return f.payload()
}

// payload reads some of a frame's payload. That of the last frame of a message
// was announced with its length; of another, what is ready makes a frame.
func (f *frames) payload() error {
	n, err := f.window.fill(f.scrubber, f.src, f.left)
	f.left -= uint64(n)
	if f.left == 0 && f.fin {
		f.window.scan(f.scrubber, true)
	} else {
		f.window.hold(f.scrubber)
	}
	if ready := f.window.waiting(); !f.fin && ready > 0 {
		f.announce(uint64(ready))
	}
	if f.left == 0 {
		return nil // the source may have ended right behind it
	}
	return unexpected(err)
}

// announce puts the head of a frame out.
func (f *frames) announce(length uint64) {
	first := f.op
	if f.fin {
		first |= finBit
	}
	f.op = opContinuation
	head := f.small[:0]
	switch {
	case length <= maxControl:
		head = append(head, first, byte(length))
	case length <= 0xffff:
		head = binary.BigEndian.AppendUint16(append(head, first, 126), uint16(length))
	default:
		head = binary.BigEndian.AppendUint64(append(head, first, 127), length)
	}
	f.out = head
}

// next reads a frame's head, and the whole frame if it is a control frame.
func (f *frames) next() error {
	head := f.small[:2]
	if _, err := io.ReadFull(f.src, head); err != nil {
		return err
	}
	op, fin := head[0]&0xf, head[0]&finBit != 0
	if head[0]&rsvBits != 0 || head[1]&maskBit != 0 {
		return fmt.Errorf("%w: reserved bit or mask", ErrFrame)
	}
	length, err := f.length(head[1])
	if err != nil {
		return err
	}
	switch {
	case op >= opClose && op <= opPong:
		return f.control(op, fin, int(length))
	case op > opBinary, op == opContinuation != f.open:
		return fmt.Errorf("%w: opcode %d out of place", ErrFrame, op)
	}
	f.begin(op, fin, length)
	return nil
}

// begin starts on the payload of a data frame.
func (f *frames) begin(op byte, fin bool, length uint64) {
	if f.window == nil {
		f.window = openWindow()
	}
	if op != opContinuation {
		f.op = op
	}
	f.left, f.fin, f.in, f.open = length, fin, true, !fin
	if fin {
		// What was held back of the fragments before goes with this frame.
		f.announce(length + uint64(f.window.end-f.window.start))
	}
	if fin && length == 0 {
		f.window.scan(f.scrubber, true)
	}
}

// length reads the rest of a payload length, in the shortest form alone.
func (f *frames) length(short byte) (uint64, error) {
	var wide [8]byte
	switch short {
	case 126:
		if _, err := io.ReadFull(f.src, wide[6:]); err != nil {
			return 0, unexpected(err)
		}
	case 127:
		if _, err := io.ReadFull(f.src, wide[:]); err != nil {
			return 0, unexpected(err)
		}
	default:
		return uint64(short), nil
	}
	n := binary.BigEndian.Uint64(wide[:])
	if n <= maxControl || short == 127 && n <= 0xffff || n > 1<<62 {
		return 0, fmt.Errorf("%w: length %d", ErrFrame, n)
	}
	return n, nil
}

// control passes a control frame on whole.
func (f *frames) control(op byte, fin bool, length int) error {
	if !fin || length > maxControl || op == opClose && length == 1 {
		return fmt.Errorf("%w: control frame", ErrFrame)
	}
	frame := f.small[:2+length]
	frame[0], frame[1] = finBit|op, byte(length)
	if _, err := io.ReadFull(f.src, frame[2:]); err != nil {
		return unexpected(err)
	}
	text := frame[2:]
	if op == opClose && length > 0 {
		text = text[2:] // behind the status code
	}
	f.scrubber.scan(text, true)
	f.out = frame
	return nil
}
