// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxInput bounds every file that a user names: policies and certificates.
const maxInput = 1 << 20

// Invoker is the person at the keyboard, whose rights decide which files may
// be named. Root itself is the zero Invoker.
type Invoker struct{ User *User }

// ReadPolicy reads a policy file, at most 1 MiB. A file that is root's and
// writable by root alone is read as root: an administrator put it there to be
// used. Any other is read with the invoker's rights, and so is everything that
// it names (trusted is false).
func (i Invoker) ReadPolicy(path string) (data []byte, trusted bool, err error) {
	data, err = readFile(path, isRoots)
	switch {
	case !errors.Is(err, errNotRoots) && !errors.Is(err, fs.ErrNotExist):
		return data, true, err
	case i.User == nil:
		data, err = readFile(path, nil)
	default:
		data, err = i.readAsUser(path)
	}
	return data, false, err
}

// ReadNamed reads a file that a policy names.
func (i Invoker) ReadNamed(path string, trusted bool) ([]byte, error) {
	if i.User == nil || trusted {
		return readFile(path, nil)
	}
	return i.readAsUser(path)
}

// MayRead tells whether the invoker could have read path directly, and so may
// be shown a line of it.
func (i Invoker) MayRead(path string) bool {
	if i.User == nil {
		return true
	}
	_, err := i.readAsUser(path)
	return err == nil
}

// StatFolder looks at a folder with the invoker's rights. No link is followed at
// its end.
func (i Invoker) StatFolder(path string) (st unix.Stat_t, err error) {
	err = i.reach(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, &st)
	return st, err
}

// MayReach is an error where the invoker could not open path.
func (i Invoker) MayReach(path string) error { return i.reach(path, 0, new(unix.Stat_t)) }

// reach opens path, without using it, and looks at what was opened.
func (i Invoker) reach(path string, flags int, st *unix.Stat_t) (err error) {
	look := func() {
		var fd int
		if fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags, 0); err == nil {
			err = errors.Join(unix.Fstat(fd, st), unix.Close(fd))
		}
	}
	if i.User == nil {
		look()
		return err
	}
	asked := asUser(*i.User, look)
	<-asked.done
	return errors.Join(asked.err, err)
}

func (i Invoker) readAsUser(path string) (data []byte, err error) {
	asked := asUser(*i.User, func() { data, err = readFile(path, nil) })
	<-asked.done
	return data, errors.Join(asked.err, err)
}

// asking is work that is done with a user's rights; done is closed at its end.
type asking struct {
	done chan struct{}
	err  error // the rights could not be taken, and nothing was done
}

// asUser starts f on a thread with u's rights on files.
func asUser(u User, f func()) *asking {
	a := &asking{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		// File system credentials belong to a thread. This one is never
		// unlocked, so it ends with the goroutine and nothing else runs on it.
		runtime.LockOSThread()
		if a.err = becomeForFiles(u); a.err == nil {
			f()
		}
	}()
	return a
}

// becomeForFiles gives the calling thread u's file system identity. A non-zero
// fsuid also takes the capabilities away that override permissions
// (capabilities(7), "Effect of user ID changes").
func becomeForFiles(u User) error {
	groups := make([]uint32, 0, len(u.Groups)+1)
	for _, g := range u.Groups {
		groups = append(groups, uint32(g))
	}
	groups = append(groups, uint32(u.GID))
	// The raw call changes this thread only; the wrapper changes them all.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("take groups of %q: %w", u.Name, errno)
	}
	if err := unix.Setfsgid(u.GID); err != nil {
		return fmt.Errorf("take gid of %q: %w", u.Name, err)
	}
	if err := unix.Setfsuid(u.UID); err != nil {
		return fmt.Errorf("take uid of %q: %w", u.Name, err)
	}
	// setfsuid reports no failure: asking again returns the value in force.
	if now, _ := unix.SetfsuidRetUid(-1); now != u.UID {
		return fmt.Errorf("take uid of %q: %w", u.Name, unix.EPERM)
	}
	return nil
}

// isRoots tells whether root alone decides what the open file holds.
func isRoots(st *unix.Stat_t) bool { return st.Uid == 0 && st.Mode&0o022 == 0 }

var (
	errNotRegular = errors.New("not a regular file")
	errNotRoots   = errors.New("not root's file")
)

// readFile reads a regular file that accept, where it is given, agrees to. The
// question is put to the open file, not to the path, which may be changed in
// between.
func readFile(path string, accept func(*unix.Stat_t) bool) ([]byte, error) {
	// O_NONBLOCK: a FIFO in place of a file must not hang the start.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read %s: %w", path, errNotRegular)
	}
	if accept != nil && !accept(&st) {
		return nil, fmt.Errorf("read %s: %w", path, errNotRoots)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, maxInput)
	}
	return data, nil
}
