// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame carries one value between two of our processes. Requests, replies
// and the plaintext of the store have this form, so that a value never passes
// through a JSON encoder or decoder and its copies:
//
//	{"ok":true, … ,"length":51}\n      one line of JSON, at most maxHeader bytes
//	sk-…                               exactly length bytes, raw
//	end of file
//
// One frame per pipe. Anything missing, malformed or left over is an error.
// The store has several values behind one line and a line of its own limit.
const maxHeader = 64 << 10

// ErrFrame is a frame that is cut short, malformed or too long.
var ErrFrame = errors.New("malformed frame")

func writeFrame(w io.Writer, header any, body []byte) error {
	if err := writeHeader(w, header, maxHeader); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

func writeHeader(w io.Writer, header any, limit int) error {
	line, err := json.Marshal(header)
	if err != nil {
		return err
	}
	if len(line) >= limit {
		return fmt.Errorf("%w: header of %d bytes", ErrFrame, len(line))
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// readHeader reads the line of JSON into header, byte by byte: reading ahead
// would leave the start of the value in an ordinary buffer.
func readHeader(r io.Reader, header any, limit int) error {
	line := make([]byte, 0, 512)
	for {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return fmt.Errorf("%w: header: %w", ErrFrame, err)
		}
		if b[0] == '\n' {
			break
		}
		if line = append(line, b[0]); len(line) >= limit {
			return fmt.Errorf("%w: header without an end", ErrFrame)
		}
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(header); err != nil {
		// Not %w: the decoder quotes its input.
		return fmt.Errorf("%w: header is not what was expected", ErrFrame)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: header goes on", ErrFrame)
	}
	return nil
}

// readBody reads length bytes straight into locked memory.
func readBody(r io.Reader, length int) (Value, error) {
	if length < 0 || length > MaxLength {
		return Value{}, fmt.Errorf("%w: length %d", ErrFrame, length)
	}
	if length == 0 {
		return Value{}, nil
	}
	m, err := allocate(length)
	if err != nil {
		return Value{}, err
	}
	m.length = length
	if _, err := io.ReadFull(r, m.data[:length]); err != nil {
		m.wipe()
		return Value{}, fmt.Errorf("%w: body: %w", ErrFrame, err)
	}
	return Value{m}, nil
}

func readEnd(r io.Reader) error {
	var b [1]byte
	if n, err := io.ReadFull(r, b[:]); n > 0 {
		return fmt.Errorf("%w: bytes after the end", ErrFrame)
	} else if err != io.EOF {
		return fmt.Errorf("%w: end: %w", ErrFrame, err)
	}
	return nil
}
