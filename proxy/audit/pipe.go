// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Sink takes records. Write returns when the record is kept or an error says
// that it is not; it is safe for concurrent use. A caller that gets an error
// must not let the decision take effect.
type Sink interface {
	Write(Record) error
}

// Encoder writes records into a pipe, one line and one write(2) each.
type Encoder struct {
	mu      sync.Mutex
	w       io.Writer
	buf     []byte
	written uint64
	err     error
}

// NewEncoder returns an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Write encodes one record. It stamps v, time when it is zero and id when it is
// empty; session, seq and prev are the log's. A record outside the closed
// lists is an error and writes nothing. After an error of the pipe every
// further Write returns that error: part of a line may have been written.
func (e *Encoder) Write(r Record) error {
	if err := r.Check(); err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	stamp(&r)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	e.buf = append(appendRecord(e.buf[:0], &r), '\n')
	if _, err := e.w.Write(e.buf); err != nil {
		e.err = fmt.Errorf("encode record: %w", err)
		return e.err
	}
	e.written++
	return nil
}

// Written is how many records are in the pipe, or were.
func (e *Encoder) Written() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.written
}

func stamp(r *Record) {
	r.V = Version
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if r.ID == "" {
		r.ID = NewID()
	}
}

// Decoder reads records from a pipe whose other end is not trusted.
type Decoder struct {
	r *bufio.Reader
}

// NewDecoder returns a Decoder that reads from r. It holds at most [MaxLine]
// bytes.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, MaxLine)}
}

// Read returns the next record. The end of the pipe is io.EOF,
// io.ErrUnexpectedEOF within a line. A line that is too long, not a record or
// outside the closed lists is an error, after which the pipe must not be read
// on: its writer is broken or hostile.
func (d *Decoder) Read() (Record, error) {
	line, err := d.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0:
		return Record{}, io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return Record{}, io.EOF
	case err != nil:
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	return parse(line)
}

// ReadAll returns the next record and those behind it that need no waiting, limit
// at most. With an error come the records before it.
func (d *Decoder) ReadAll(limit int) ([]Record, error) {
	var all []Record
	for {
		r, err := d.Read()
		if err != nil {
			return all, err
		}
		if all = append(all, r); len(all) >= limit || !d.waiting() {
			return all, nil
		}
	}
}

// waiting reports whether a whole line is in the buffer.
func (d *Decoder) waiting() bool {
	buffered, _ := d.r.Peek(d.r.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}

func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	if r.V != Version {
		return Record{}, fmt.Errorf("decode record: version %d, this program reads %d", r.V, Version)
	}
	if err := r.Check(); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}
