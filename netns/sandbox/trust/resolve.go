// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own limit for one path (MAXSYMLINKS).
const maxLinks = 40

// A tree is a file system in which paths are walked and judged component by component.
type tree struct {
	root  *node
	owner uint32
}

// A node is one open file or directory. Its descriptor is O_PATH: opening it had no effect on
// a FIFO or device, and it keeps meaning the same file whatever happens to the path.
type node struct {
	fd      int
	parent  *node  // nil for the tree's root
	name    string // in parent
	path    string // below the tree's root, without links
	stat    unix.Stat_t
	trusted bool // every directory up to and including this one is root's alone
}

// A refusal is why something that exists is not touched.
type refusal struct{ path, why string }

func (r *refusal) Error() string { return r.path + ": " + r.why }

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

func openTree(root string, owner uint32) (*tree, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root %q: %w", root, err)
	}
	n := &node{fd: fd, path: "/"}
	if err := unix.Fstat(fd, &n.stat); err != nil {
		n.close()
		return nil, fmt.Errorf("stat root %q: %w", root, err)
	}
	t := &tree{root: n, owner: owner}
	n.trusted = t.closed(&n.stat)
	return t, nil
}

func (t *tree) close() { t.root.close() }

// closed tells whether nobody but root can change what a directory's names mean. Group write
// is tolerated with the sticky bit and without world write, which is how multi-user Nix has
// its store: a member may add names there but not touch root's, and root's ownership of the
// next component is checked again. An ACL shows in the group bits, so it is seen too.
func (t *tree) closed(st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != t.owner || st.Mode&unix.S_IWOTH != 0 {
		return false
	}
	return st.Mode&unix.S_IWGRP == 0 || st.Mode&unix.S_ISVTX != 0
}

// open walks name, which is absolute below the tree's root, to a file or directory that is
// not a link. The caller releases it.
func (t *tree) open(name string) (*node, error) {
	w := &walk{tree: t, at: t.root}
	rest := split(name)
	for len(rest) > 0 {
		target, err := w.step(rest[0])
		if err != nil {
			w.drop()
			return nil, err
		}
		rest = append(split(target), rest[1:]...)
	}
	if w.at == t.root {
		return nil, &refusal{name, "the root itself"}
	}
	return w.at, nil
}

func split(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

// A walk is one path being followed. Its nodes are open from the root to where it is, so
// that ".." is where it came from and not what somebody renamed meanwhile.
type walk struct {
	tree  *tree
	at    *node
	links int
}

// step enters one component. For a link that may be followed it returns the target instead.
func (w *walk) step(name string) (string, error) {
	switch name {
	case ".":
		return "", nil
	case "..":
		w.up()
		return "", nil
	}
	n, err := w.at.child(name)
	if err != nil {
		return "", err
	}
	switch n.stat.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		defer n.close()
		return w.follow(n)
	case unix.S_IFDIR:
		n.trusted = w.at.trusted && w.tree.closed(&n.stat)
	default:
		n.trusted = w.at.trusted
	}
	w.at = n
	return "", nil
}

// follow reads a link. A place that others can write is left before its links are read.
func (w *walk) follow(n *node) (string, error) {
	if !w.at.trusted {
		return "", &refusal{n.path, "a link in a place others than root can write"}
	}
	if n.stat.Uid != w.tree.owner {
		return "", &refusal{n.path, "a link root does not own"}
	}
	if w.links++; w.links > maxLinks {
		return "", &refusal{n.path, "too many links"}
	}
	target, err := n.readlink()
	if err != nil {
		return "", err
	}
	if path.IsAbs(target) {
		w.drop()
	}
	return target, nil
}

func (w *walk) up() {
	if w.at != w.tree.root {
		n := w.at
		w.at = n.parent
		n.close()
	}
}

// drop returns to the root.
func (w *walk) drop() {
	for w.at != w.tree.root {
		w.up()
	}
}

// child opens one name of a directory without following it.
func (n *node) child(name string) (*node, error) {
	fd, err := unix.Openat2(n.fd, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", cut(path.Join(n.path, name)), err)
	}
	c := &node{fd: fd, parent: n, name: name, path: path.Join(n.path, name)}
	if err := unix.Fstat(fd, &c.stat); err != nil {
		c.close()
		return nil, fmt.Errorf("stat %q: %w", cut(c.path), err)
	}
	if c.stat.Dev != n.stat.Dev && c.onProc() {
		c.close()
		return nil, &refusal{c.path, "on procfs"}
	}
	return c, nil
}

// onProc is asked at mount points only. A magic link is a link to stat and readlink, and its
// text names something else than what it leads to: procfs is refused as a whole.
func (n *node) onProc() bool {
	var st unix.Statfs_t
	return unix.Fstatfs(n.fd, &st) != nil || st.Type == unix.PROC_SUPER_MAGIC
}

// has tells whether a relative path may exist: false is certain, and a link on the way is left
// for a proper walk to judge. It costs one system call where a walk costs two a component.
func (n *node) has(name string) bool {
	fd, err := unix.Openat2(n.fd, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil || errors.Is(err, unix.ELOOP)
}

func (n *node) close() { _ = unix.Close(n.fd) }

// release closes what open returned: the node and its ancestors up to the tree's root.
func (n *node) release() {
	for ; n.parent != nil; n = n.parent {
		n.close()
	}
}

func (n *node) readlink() (string, error) {
	target, err := readlinkat(n.fd, "")
	if err != nil {
		return "", fmt.Errorf("read link %q: %w", cut(n.path), err)
	}
	return target, nil
}

func readlinkat(fd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(fd, name, buf)
	if err == nil && (size == 0 || size == len(buf)) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(buf[:size]), nil
}

// regular refuses everything that is not a plain file.
func (n *node) regular() error {
	return n.is(unix.S_IFREG, "not a regular file")
}

// directory refuses everything that is not a directory of root's alone: the names in it are
// going to be copied.
func (n *node) directory() error {
	if err := n.is(unix.S_IFDIR, "not a directory"); err != nil {
		return err
	}
	if !n.trusted {
		return &refusal{n.path, "a directory others than root can write"}
	}
	return nil
}

func (n *node) is(format uint32, why string) error {
	if n.stat.Mode&unix.S_IFMT != format {
		return &refusal{n.path, why}
	}
	return nil
}

// same tells whether a descriptor is this node's file.
func (n *node) same(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Dev == n.stat.Dev && st.Ino == n.stat.Ino
}

// read returns a regular file's content, at most limit bytes of it. It opens the name again,
// since an O_PATH descriptor cannot be read without procfs, and insists on the same inode;
// O_NONBLOCK because the name may be a FIFO by now.
func (n *node) read(limit int64) ([]byte, error) {
	if err := n.regular(); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(n.parent.fd, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", cut(n.path), err)
	}
	file := os.NewFile(uintptr(fd), n.name)
	defer file.Close()
	if !n.same(fd) {
		return nil, &refusal{n.path, "replaced while it was read"}
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", cut(n.path), err)
	}
	if int64(len(data)) > limit {
		return nil, &refusal{n.path, fmt.Sprintf("larger than %d bytes", limit)}
	}
	return data, nil
}

// entries returns at most limit names of a directory, and whether there were more.
func (n *node) entries(limit int) ([]fs.DirEntry, bool, error) {
	fd, err := unix.Openat(n.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("open directory %q: %w", cut(n.path), err)
	}
	// The name is used where a file system does not tell types: the package os asks lstat then.
	file := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer file.Close()
	list, err := file.ReadDir(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read directory %q: %w", cut(n.path), err)
	}
	if len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}
