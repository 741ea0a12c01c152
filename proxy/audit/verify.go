// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxFaults bounds what Verify reports.
const maxFaults = 16

// Fault is one place where a log is not what was written.
type Fault struct {
	Line    int    // from 1
	Session string // empty when the line is not a record
	Text    string
}

func (f *Fault) Error() string {
	if f.Session == "" {
		return fmt.Sprintf("line %d: %s", f.Line, f.Text)
	}
	return fmt.Sprintf("line %d: session %q: %s", f.Line, cut(f.Session, capID), f.Text)
}

type link struct {
	seq  uint64
	hash string
}

// Verify reads a log, or several rotated ones in order of time, and checks the
// chain of each session in it. The error joins at most 16 values of [*Fault].
// A session's missing last lines are not found; see the package comment.
func Verify(r io.Reader) error {
	chains := make(map[string]link)
	reader := bufio.NewReaderSize(r, MaxLine)
	var faults []error
	for number := 1; len(faults) < maxFaults; number++ {
		line, err := reader.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("verify audit log: %w", err)
		}
		if fault := verifyLine(chains, line, err); fault != nil {
			fault.Line = number
			faults = append(faults, fault)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			if err := skipLine(reader); err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("verify audit log: %w", err)
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("verify audit log: %w", errors.Join(faults...))
}

// verifyLine checks one line against its session's chain, and carries the
// chain on from it either way so that one fault is told once.
func verifyLine(chains map[string]link, line []byte, end error) *Fault {
	if errors.Is(end, bufio.ErrBufferFull) {
		return &Fault{Text: "longer than any record"}
	}
	if end != nil {
		return &Fault{Text: "ends without a newline"}
	}
	line = line[:len(line)-1]
	record, err := parse(line)
	if err != nil {
		return &Fault{Text: err.Error()}
	}
	last := chains[record.Session]
	chains[record.Session] = link{seq: record.Seq, hash: hash(line)}
	if record.Seq != last.seq+1 {
		return &Fault{Session: record.Session, Text: fmt.Sprintf("seq %d after %d", record.Seq, last.seq)}
	}
	if record.Prev != last.hash {
		return &Fault{Session: record.Session, Text: fmt.Sprintf("prev does not match seq %d", last.seq)}
	}
	return nil
}

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
