// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeDurably puts a file in the place of another in one step, so that it is
// whole, and there after a power cut.
func writeDurably(path string, data []byte) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer dir.Close()
	// One writer of a path at a time: what a crash left is in nobody's way.
	temp := filepath.Join(dir.Name(), "."+filepath.Base(path))
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(temp, path) // the step that makes it so
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, removeFile(temp)))
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeDir makes a directory with its parents and gives it this mode and group,
// whatever it had. Without a group (-1) it is root's.
func makeDir(path string, mode os.FileMode, group int) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	// The parents belong to root, so that nobody can have put a link there.
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is a link")
	}
	if err == nil {
		err = errors.Join(os.Chown(path, 0, max(group, 0)), os.Chmod(path, mode))
	}
	if err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return nil
}

// seedSize is what the pool takes.
const seedSize = 32

// loadSeed returns the node's secret, from which placeholders and the keys of
// authorities are derived; the first time it makes one.
func loadSeed(path string) ([]byte, error) {
	seed, err := readOwn(path, seedSize)
	if errors.Is(err, fs.ErrNotExist) {
		seed = make([]byte, seedSize)
		rand.Read(seed) // never returns an error since Go 1.24
		return seed, writeDurably(path, seed)
	}
	if err == nil && len(seed) != seedSize {
		err = fmt.Errorf("%d bytes instead of %d", len(seed), seedSize)
	}
	if err != nil {
		// A new one would silently change every placeholder that containers hold.
		return nil, fmt.Errorf("read seed %s: %w", path, err)
	}
	return seed, nil
}

var errNotRoots = errors.New("it is not a file that root alone can read and write")

// readOwn reads a file of ours, at most limit bytes and one to tell that there
// are more.
func readOwn(path string, limit int) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o077 != 0 {
		return nil, errNotRoots
	}
	data := make([]byte, min(int(st.Size), limit+1))
	n, err := file.ReadAt(data, 0)
	if n == len(data) {
		err = nil
	}
	return data[:n], err
}
