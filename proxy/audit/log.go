// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Log appends the records of one session to a [File] that other sessions may
// append to at the same time. It is a [Sink].
type Log struct {
	session string
	now     func() time.Time
	file    *File
	owned   bool // the file is closed with the log

	mu   sync.Mutex
	seq  uint64
	prev string
}

// Open opens or creates the log at path (mode 0640 less the umask) for one
// session. A link or anything but a regular file in its place is refused.
func Open(path, session string) (*Log, error) {
	file, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	log := file.Log(session)
	log.owned = true
	return log, nil
}

// ErrRecord is wrapped by [Log.Write] when a record is outside the closed
// lists: trying it again is no use.
var ErrRecord = errors.New("not a record")

// Write stamps v, time, session, seq, prev and, where it is empty, id, and
// appends the record as one line. An error means that the record is not in the
// log (a full disk, for one); the same record may be tried again.
func (l *Log) Write(r Record) error { return l.WriteAll([]Record{r}) }

// WriteAll is [Log.Write] for several records in one write: all are in the log,
// or none.
func (l *Log) WriteAll(records []Record) error {
	for i := range records {
		if err := records[i].Check(); err != nil {
			return fmt.Errorf("write audit log: %w: %w", ErrRecord, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, seq, prev := l.now(), l.seq, l.prev
	err := l.file.write(func(line []byte) []byte {
		for _, r := range records {
			r.Time = now
			stamp(&r)
			seq++
			r.Session, r.Seq, r.Prev = l.session, seq, prev
			from := len(line)
			line = appendRecord(line, &r)
			prev = hash(line[from:])
			line = append(line, '\n')
		}
		return line
	})
	if err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.seq, l.prev = seq, prev
	return nil
}

// Close ends the log. One of a shared [File] leaves the file open; the file of
// any other is brought to the disk and closed, and later writes are errors.
func (l *Log) Close() error {
	if !l.owned {
		return nil
	}
	return l.file.Close()
}

func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
