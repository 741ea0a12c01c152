// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// File is an open log, of one session or of several. Where it is moved away it
// is followed by the one that takes its place.
type File struct {
	path string

	mu   sync.Mutex
	file *os.File // nil: closed
	buf  []byte
	end  int64 // where our last line ended
}

// OpenFile opens or creates the log at path as [Open] does, for a process that
// has several sessions.
func OpenFile(path string) (*File, error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, file: file}, nil
}

func openFile(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	file, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", errors.Join(err, file.Close()))
	}
	return file, nil
}

// Log returns the log of one session in the file. It holds no descriptor.
func (f *File) Log(session string) *Log {
	return &Log{session: session, now: time.Now, file: f}
}

// follow goes over to the file that is at the path now, or makes it, where the
// log was moved away; the chains of the sessions go on in it. It is asked before
// each write, which costs a microsecond, and so needs nobody to tell.
func (f *File) follow() error {
	moved, err := f.moved()
	if err != nil || !moved {
		return err
	}
	file, err := openFile(f.path)
	if err != nil {
		return err
	}
	old := f.file
	f.file, f.end = file, 0
	return errors.Join(old.Sync(), old.Close())
}

// moved tells whether the path leads elsewhere, or nowhere.
func (f *File) moved() (bool, error) {
	var there, ours unix.Stat_t
	if err := unix.Lstat(f.path, &there); err == unix.ENOENT {
		return true, nil
	} else if err != nil {
		return false, err
	}
	err := control(f.file, func(fd int) error { return unix.Fstat(fd, &ours) })
	return there.Dev != ours.Dev || there.Ino != ours.Ino, err
}

// write appends what fill adds, which is whole lines, all or nothing.
func (f *File) write(fill func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return os.ErrClosed
	}
	if err := f.follow(); err != nil {
		return err
	}
	f.buf = fill(append(f.buf[:0], '\n'))
	return f.append()
}

// append writes the buffer whole or, as far as that can be had, not at all. The
// buffer begins with a newline, needed only when the file ends within a line: a
// writer was killed, the power failed, or a part could not be taken back. The
// lock is between processes; without it a line of another session could follow
// what has to be taken back.
func (f *File) append() error {
	return control(f.file, func(fd int) error {
		if err := lock(fd); err != nil {
			return err
		}
		defer unix.Flock(fd, unix.LOCK_UN)
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return err
		}
		line := f.buf
		if stat.Size == f.end || endsLine(fd, stat.Size) {
			line = line[1:]
		}
		if err := writeAll(fd, line); err != nil {
			// An append-only file (chattr +a) refuses this; the next line then
			// begins with the newline.
			_ = unix.Ftruncate(fd, stat.Size)
			f.end = 0
			return err
		}
		f.end = stat.Size + int64(len(line))
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
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}
