// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// checkPrivate refuses an open file of which others than its owner may do
// anything, or whose owner is none of owners. A mode's group bits are the mask
// of an ACL, so that an ACL which gives rights to others is refused too.
func checkPrivate(f *os.File, kind fs.FileMode, owners ...int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat %q: %w", f.Name(), err)
	}
	mode := st.Mode & 0o7777
	switch {
	case kind.IsRegular() && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: %q is not a regular file", ErrUnsafe, f.Name())
	case !slices.Contains(owners, int(st.Uid)):
		return fmt.Errorf("%w: %q belongs to uid %d, not to one of %v", ErrUnsafe, f.Name(), st.Uid, owners)
	case mode&0o077 != 0 && kind.IsDir():
		return fmt.Errorf("%w: %q has mode %04o, open to others: chmod 700", ErrUnsafe, f.Name(), mode)
	case mode&0o077 != 0:
		return fmt.Errorf("%w: %q has mode %04o, open to others: chmod 600", ErrUnsafe, f.Name(), mode)
	}
	return nil
}

// maxLinks is the kernel's own limit of symbolic links in one path (MAXSYMLINKS).
const maxLinks = 40

// rootOnly refuses a path that anyone but root could make lead elsewhere: every
// directory, link and the file at its end must belong to root and be writable
// by no one else. A sticky directory passes, because others can neither remove
// nor rename root's entries there. What passes cannot change under us, so that
// checking by path and using the path later is sound.
func rootOnly(path string) error {
	at, pending, links := "/", strings.Split(path, "/"), 0
	if err := checkRoots(at, nil); err != nil {
		return err
	}
	for len(pending) > 0 {
		name := pending[0]
		pending = pending[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		var target string
		if err := checkRoots(next, &target); err != nil {
			return err
		}
		if target == "" {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("follow %q: %w", path, unix.ELOOP)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		pending = append(strings.Split(target, "/"), pending...)
	}
	return nil
}

// checkRoots judges one entry; of a symbolic link it tells the target.
func checkRoots(path string, target *string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Uid != 0 {
		return fmt.Errorf("%w: %q belongs to uid %d, and must be root's", ErrUnsafe, path, st.Uid)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK:
		to, err := os.Readlink(path)
		*target = to
		return err
	case kind == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0:
		return nil
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%w: %q has mode %04o, writable by others than root", ErrUnsafe, path, st.Mode&0o7777)
	}
	return nil
}
