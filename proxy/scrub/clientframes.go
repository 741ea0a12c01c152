// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	maskSize      = 4
	maxClientHead = maxHead + maskSize
)

// ClientFrames returns a reader of the frames that a WebSocket client sends in
// src, unchanged. Bytes that are no frame of a client end the stream with
// [ErrFrame]: what goes up behind a 101 is a WebSocket, not a tunnel in which
// requests could follow that nobody judges.
func ClientFrames(src io.Reader) FrameReader { return &clientFrames{src: src} }

// clientFrames knows where in a frame the stream is.
type clientFrames struct {
	src  io.Reader
	head [maxClientHead]byte
	got  int    // bytes of head that have come
	left uint64 // bytes of the payload still to come
	open bool   // a fragmented message is under way
	err  error  // sticky
}

func (f *clientFrames) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.src.Read(p)
	if f.err = f.follow(p[:n]); f.err != nil {
		return 0, f.err
	}
	if err == io.EOF && (f.got > 0 || f.left > 0) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f *clientFrames) Between() bool { return f.got == 0 && f.left == 0 }

// follow goes over what came.
func (f *clientFrames) follow(p []byte) error {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left, p = f.left-n, p[n:]
			continue
		}
		n := copy(f.head[f.got:f.size()], p)
		f.got, p = f.got+n, p[n:]
		if err := f.judge(); err != nil {
			return err
		}
		if f.got > 2 && f.got == f.size() {
			f.got = 0
		}
	}
	return nil
}

// size is how many bytes the head has, as far as is known.
func (f *clientFrames) size() int {
	if f.got < 2 {
		return 2
	}
	switch f.head[1] &^ maskBit {
	case 126:
		return 4 + maskSize
	case 127:
		return 10 + maskSize
	}
	return 2 + maskSize
}

// judge looks at the first two bytes as soon as they are there, and at the rest
// when the head is whole.
func (f *clientFrames) judge() error {
	switch {
	case f.got == 2:
		return f.opening()
	case f.got < 2 || f.got < f.size():
		return nil
	}
	n := uint64(f.head[1] &^ maskBit)
	switch n {
	case 126:
		if n = uint64(binary.BigEndian.Uint16(f.head[2:])); n <= maxControl {
			return fmt.Errorf("%w: length %d", ErrFrame, n)
		}
	case 127:
		if n = binary.BigEndian.Uint64(f.head[2:]); n <= 0xffff || n > 1<<62 {
			return fmt.Errorf("%w: length %d", ErrFrame, n)
		}
	}
	f.left = n
	return nil
}

func (f *clientFrames) opening() error {
	op, fin, short := f.head[0]&0xf, f.head[0]&finBit != 0, f.head[1]&^maskBit
	switch {
	case f.head[0]&rsvBits != 0 || f.head[1]&maskBit == 0:
		return fmt.Errorf("%w: reserved bit or no mask", ErrFrame)
	case op >= opClose && op <= opPong:
		if !fin || short > maxControl || op == opClose && short == 1 {
			return fmt.Errorf("%w: control frame", ErrFrame)
		}
		return nil
	case op > opBinary, op == opContinuation != f.open:
		return fmt.Errorf("%w: opcode %d out of place", ErrFrame, op)
	}
	f.open = !fin
	return nil
}
