// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links one path may lead through, as in the kernel
// (MAXSYMLINKS of include/linux/namei.h).
const maxLinks = 40

// walk follows a path from the root, one name at a time. openat2's flags refuse
// all links or none; runtimes need root's own (/var/run to /run).
type walk struct {
	at    int // O_PATH
	rest  []string
	links int
}

// locate returns an O_PATH descriptor of what is at path.
func locate(path string) (int, error) {
	switch {
	case len(path) >= unix.PathMax:
		return -1, unix.ENAMETOOLONG
	case !filepath.IsAbs(path) || strings.ContainsRune(path, 0):
		return -1, unix.EINVAL
	}
	w := walk{at: -1}
	if err := w.restart(path); err != nil {
		return -1, err
	}
	for len(w.rest) > 0 {
		name := w.rest[0]
		w.rest = w.rest[1:]
		if err := w.step(name); err != nil {
			unix.Close(w.at)
			return -1, err
		}
	}
	return w.at, nil
}

// restart goes to the root, with path before what is left.
func (w *walk) restart(path string) error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.move(root)
	w.rest = append(split(path), w.rest...)
	return nil
}

// move makes fd the place where the walk is.
func (w *walk) move(fd int) {
	if w.at >= 0 {
		unix.Close(w.at)
	}
	w.at = fd
}

func (w *walk) step(name string) error {
	if err := trusted(w.at); err != nil {
		return err
	}
	fd, err := unix.Openat(w.at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.move(fd)
		return nil
	}
	defer unix.Close(fd)
	return w.follow(name, fd, st.Uid)
}

// follow goes on by the link that fd is. One of a process in /proc may be the
// last name only, as /proc/PID/root leads into what a container wrote.
func (w *walk) follow(name string, fd int, owner uint32) error {
	proc, err := isProc(fd)
	if err != nil {
		return err
	}
	proc = proc && name != "self" && name != "thread-self"
	if proc && len(w.rest) > 0 {
		return fmt.Errorf("link %q of /proc: %w", name, unix.ELOOP)
	}
	if proc {
		found, err := unix.Openat(w.at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			w.move(found)
		}
		return err
	}
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if owner != 0 {
		return fmt.Errorf("link %q is not root's: %w", name, unix.EPERM)
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return err
	}
	if text := string(target[:n]); filepath.IsAbs(text) {
		return w.restart(text)
	} else {
		w.rest = append(split(text), w.rest...)
	}
	return nil
}

// trusted accepts a folder in which root alone could have put a name. In a
// sticky one a link must be root's, too, which is the rule of
// fs.protected_symlinks (Documentation/admin-guide/sysctl/fs.rst). Nobody puts
// names into /proc.
func trusted(dir int) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	open := st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0
	if st.Uid == 0 && !open {
		return nil
	}
	if proc, err := isProc(dir); err != nil || proc {
		return err
	}
	return fmt.Errorf("a folder of it can be written by others than root: %w", unix.EPERM)
}

func isProc(fd int) (bool, error) {
	var fs unix.Statfs_t
	err := unix.Fstatfs(fd, &fs)
	return fs.Type == unix.PROC_SUPER_MAGIC, err
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
