// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Log appends the records of one session to a file that other sessions may
// append to at the same time. It is a [Sink].
type Log struct {
	session string
	now     func() time.Time

	mu   sync.Mutex
	file *os.File
	buf  []byte
	seq  uint64
	prev string
	end  int64 // where this log's last line ended
}

// Open opens or creates the log at path (mode 0640 less the umask) for one
// session. A link or anything but a regular file in its place is refused.
func Open(path, session string) (*Log, error) {
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	file, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	log, err := New(file, session)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return log, nil
}

// New returns a Log that owns file, which must be a regular file opened for
// reading and appending.
func New(file *os.File, session string) (*Log, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open audit log: %q is not a regular file", file.Name())
	}
	err = control(file, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err == nil && (flags&unix.O_APPEND == 0 || flags&unix.O_ACCMODE != unix.O_RDWR) {
			err = fmt.Errorf("%q is not open for reading and appending", file.Name())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return &Log{session: session, now: time.Now, file: file}, nil
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
	if l.file == nil {
		return fmt.Errorf("write audit log: %w", os.ErrClosed)
	}
	now, seq, prev := l.now(), l.seq, l.prev
	l.buf = append(l.buf[:0], '\n')
	for _, r := range records {
		r.Time = now
		stamp(&r)
		seq++
		r.Session, r.Seq, r.Prev = l.session, seq, prev
		from := len(l.buf)
		l.buf = appendRecord(l.buf, &r)
		prev = hash(l.buf[from:])
		l.buf = append(l.buf, '\n')
	}
	if err := l.append(); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.seq, l.prev = seq, prev
	return nil
}

// append writes the buffer whole or, as far as that can be had, not at all. The
// buffer begins with a newline, needed only when the file ends within a line: a
// writer was killed, the power failed, or a part could not be taken back. The
// lock is between processes; without it a line of another session could follow
// what has to be taken back.
func (l *Log) append() error {
	return control(l.file, func(fd int) error {
		if err := lock(fd); err != nil {
			return err
		}
		defer unix.Flock(fd, unix.LOCK_UN)
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return err
		}
		line := l.buf
		if stat.Size == l.end || endsLine(fd, stat.Size) {
			line = line[1:]
		}
		if err := writeAll(fd, line); err != nil {
			// An append-only file (chattr +a) refuses this; the next line then
			// begins with the newline.
			_ = unix.Ftruncate(fd, stat.Size)
			l.end = 0
			return err
		}
		l.end = stat.Size + int64(len(line))
		return nil
	})
}

// endsLine reports whether a file of this size ends with a newline.
func endsLine(fd int, size int64) bool {
	if size == 0 {
		return true
	}
	var last [1]byte
	n, err := unix.Pread(fd, last[:], size-1)
	return err == nil && n == 1 && last[0] == '\n'
}

func lock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func control(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Close brings the log to the disk and closes the file. Later writes are
// errors.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
