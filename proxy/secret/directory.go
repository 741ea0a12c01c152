// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openDirectory opens the store's directory: no link, ours, closed to others.
func openDirectory(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	if err := checkPrivate(dir, fs.ModeDir, os.Geteuid()); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// makeDirectory makes the last component of path, and makes that durable.
func makeDirectory(path string) (*os.File, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil {
		return nil, err
	}
	return openDirectory(path)
}

// openAt opens a file of the directory by its handle, so that the directory
// that was checked is the one that is used.
func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// readPrivate reads a file of ours that is closed to others.
func readPrivate(dir *os.File, name string, limit int) ([]byte, error) {
	f, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkPrivate(f, 0, os.Geteuid()); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(content) > limit {
		clear(content)
		return nil, fmt.Errorf("read %q: longer than %d bytes: %w", f.Name(), limit, ErrDamaged)
	}
	return content, nil
}

// lock keeps other writers away until dir is closed, and removes what a crash
// left: it was never named a store, and one of a key may be in the clear.
func lock(dir *os.File) error {
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %q: %w", dir.Name(), err)
	}
	for _, name := range []string{keyFile, storeFile} {
		fresh := name + ".new"
		if err := unix.Unlinkat(int(dir.Fd()), fresh, 0); err != nil && err != unix.ENOENT {
			return &fs.PathError{Op: "remove", Path: filepath.Join(dir.Name(), fresh), Err: err}
		}
	}
	return nil
}

// replace puts content in a file's place. Up to the rename the old file is what
// everyone sees, from the rename on the new one; the last sync makes the rename
// outlive a power cut. The caller holds the lock.
func (s *Store) replace(dir *os.File, name string, content []byte) error {
	s.reached(name + " begin")
	fresh := name + ".new"
	if err := s.write(dir, name, fresh, content); err != nil {
		unix.Unlinkat(int(dir.Fd()), fresh, 0)
		return err
	}
	// The one step that counts.
	if err := unix.Renameat(int(dir.Fd()), fresh, int(dir.Fd()), name); err != nil {
		unix.Unlinkat(int(dir.Fd()), fresh, 0)
		return &fs.PathError{Op: "replace", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	s.reached(name + " renamed")
	if err := dir.Sync(); err != nil {
		return err
	}
	s.reached(name + " done")
	return nil
}

func (s *Store) write(dir *os.File, name, fresh string, content []byte) error {
	f, err := openAt(dir, fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	s.reached(name + " created")
	half := len(content) / 2
	if _, err := f.Write(content[:half]); err != nil {
		return err
	}
	s.reached(name + " half written")
	if _, err := f.Write(content[half:]); err != nil {
		return err
	}
	s.reached(name + " written")
	if err := f.Sync(); err != nil {
		return err
	}
	s.reached(name + " synced")
	return f.Close()
}
