// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	torn bool // the file ends within a line: begin with a newline
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
	log := &Log{session: session, now: time.Now, file: file}
	if log.torn, err = endsTorn(file, info.Size()); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return log, nil
}

// endsTorn reports whether the last byte is not a newline, as after a power
// cut.
func endsTorn(file *os.File, size int64) (bool, error) {
	if size == 0 {
		return false, nil
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] != '\n', nil
}

// Write stamps v, time, session, seq, prev and, where it is empty, id, and
// appends the record as one line. An error means that the record is not in the
// log (a full disk, for one); the same record may be tried again.
func (l *Log) Write(r Record) error {
	if err := r.Check(); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fmt.Errorf("write audit log: %w", os.ErrClosed)
	}
	r.Time = l.now()
	stamp(&r)
	r.Session, r.Seq, r.Prev = l.session, l.seq+1, l.prev
	l.buf = l.buf[:0]
	if l.torn {
		l.buf = append(l.buf, '\n')
	}
	start := len(l.buf)
	l.buf = append(appendRecord(l.buf, &r), '\n')
	if err := l.append(); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.torn = false
	l.seq++
	l.prev = hash(l.buf[start : len(l.buf)-1])
	return nil
}

// append writes the buffer whole or, as far as that can be had, not at all.
// The lock is between processes: without it a line of another session could
// follow the part that has to be taken back.
func (l *Log) append() error {
	return control(l.file, func(fd int) error {
		if err := lock(fd); err != nil {
			return err
		}
		defer unix.Flock(fd, unix.LOCK_UN)
		n, err := writeAll(fd, l.buf)
		if err != nil && n > 0 {
			l.takeBack(fd, n)
		}
		return err
	})
}

// takeBack removes the n bytes just appended. An append-only file (chattr +a)
// does not allow that: then the next line begins with a newline, and Verify
// names the torn one.
func (l *Log) takeBack(fd, n int) {
	var stat unix.Stat_t
	err := unix.Fstat(fd, &stat)
	if err == nil {
		err = unix.Ftruncate(fd, stat.Size-int64(n))
	}
	l.torn = l.torn || err != nil
}

func lock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func writeAll(fd int, data []byte) (done int, err error) {
	for done < len(data) {
		n, err := unix.Write(fd, data[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
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
