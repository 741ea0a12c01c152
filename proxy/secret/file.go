// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// fetchFile reads a regular file of root's or of the invoking user's that is
// open to no one else. Its last component is no link. A file of root's counts
// only where root alone decides what the path leads to: otherwise the user
// could send any file of root's out as a credential.
func fetchFile(path string, uid int) (Value, error) {
	// O_NONBLOCK: a FIFO answers at once, and is refused below.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Value{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := checkPrivate(f, 0, uid, 0); err != nil {
		return Value{}, err
	}
	if checkPrivate(f, 0, uid) != nil {
		if err := rootOnly(path); err != nil {
			return Value{}, err
		}
	}
	v, err := readLocked(f)
	v.tidy()
	return v, err
}
