// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of a directory that is copied. Debian's has 290 names, nearly all links.
const (
	maxCopied    = 4096     // names
	maxCopy      = 64 << 10 // bytes of one file; larger ones are mounted, not copied
	maxCopyTotal = 16 << 20 // bytes
	maxCarried   = 32       // subdirectories and files that are mounted
)

const (
	caFile     = "ca.pem"
	bundleFile = "bundle.pem"
	copiedCA   = "phantom-ns-session-ca.pem" // the CA's name in a copied directory
)

// A stage holds the covers of one plan as files: the only thing this package ever writes to.
type stage struct {
	plan   *Plan
	dir    string // absolute
	root   *os.Root
	serial int
	stores map[*byte]string // Java covers already written, by their first byte's address
	staged map[inode]bool   // what a path resolves to once it is covered
}

func newStage(p *Plan, dir string) (*stage, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	s := &stage{plan: p, dir: dir, root: root, stores: map[*byte]string{}, staged: map[inode]bool{}}
	if err := s.start(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) close() { _ = s.root.Close() }

func (s *stage) start() error {
	info, err := s.root.Stat(".")
	if err != nil {
		return fmt.Errorf("stat staging: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != s.plan.options.owner || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("check staging %q: others than root can write it", s.dir)
	}
	if err := s.write(s.root, caFile, s.plan.options.CA); err != nil {
		return err
	}
	return s.write(s.root, bundleFile, s.plan.bundle())
}

// write creates a file that every user can read and nobody write.
func (s *stage) write(root *os.Root, name string, data []byte) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("create cover: %w", err)
	}
	_, err = file.Write(data)
	// The umask is the caller's.
	if err = errors.Join(err, file.Chmod(0o444)); err == nil {
		err = s.note(file)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write cover: %w", err)
	}
	return nil
}

func (s *stage) note(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.staged[inode{st.Dev, st.Ino}] = true
	}
	return nil
}

func mkdir(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o755)
	if err == nil {
		err = root.Chmod(name, 0o755)
	}
	if err != nil {
		return fmt.Errorf("create cover: %w", err)
	}
	return nil
}

func (s *stage) next(prefix string) string {
	s.serial++
	return prefix + strconv.Itoa(s.serial)
}

// store writes a Java cover, once for all JVMs that share it.
func (s *stage) store(data []byte) (string, error) {
	if name, ok := s.stores[&data[0]]; ok {
		return name, nil
	}
	name := s.next("cacerts-")
	s.stores[&data[0]] = name
	return name, s.write(s.root, name, data)
}

// A replica is a copied directory and what of the original must be mounted back into it.
type replica struct {
	name    string
	root    *os.Root
	carried []*node // children of the original
	bytes   int64
}

func (r *replica) release() {
	_ = r.root.Close()
	for _, n := range r.carried {
		n.close()
	}
}

// replicate copies a directory of root's and adds the session CA. Links are made again as they
// were: relative ones keep their meaning, since the copy is bound where the original is.
func (s *stage) replicate(original *node, k kind) (*replica, error) {
	list, more, err := original.entries(maxCopied)
	if err != nil {
		return nil, err
	}
	if more {
		return nil, &refusal{original.path, fmt.Sprintf("more than %d names", maxCopied)}
	}
	r, err := s.newReplica()
	if err != nil {
		return nil, err
	}
	if err := s.fill(r, original, k, list); err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

func (s *stage) newReplica() (*replica, error) {
	name := s.next("directory-")
	if err := mkdir(s.root, name); err != nil {
		return nil, err
	}
	root, err := s.root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open copy: %w", err)
	}
	return &replica{name: name, root: root}, nil
}

func (s *stage) fill(r *replica, original *node, k kind, list []fs.DirEntry) error {
	if err := s.introduce(r, k, list); err != nil {
		return err
	}
	for _, item := range list {
		if err := s.copy(r, original, item); err != nil {
			return err
		}
	}
	return nil
}

// introduce puts the CA into a copy, first, so that no name of the original takes its place.
func (s *stage) introduce(r *replica, k kind, list []fs.DirEntry) error {
	if err := s.root.Link(caFile, path.Join(r.name, copiedCA)); err != nil {
		return fmt.Errorf("copy directory: %w", err)
	}
	if k != hashedKind {
		return nil
	}
	hash, err := subjectHash(s.plan.ca.RawSubject)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, item := range list {
		taken[item.Name()] = true
	}
	// OpenSSL tries .0, .1, … until one is missing.
	name := ""
	for i := 0; name == "" || taken[name]; i++ {
		name = fmt.Sprintf("%08x.%d", hash, i)
	}
	return wrapCopy(r.root.Symlink(copiedCA, name))
}

// copy gives a replica one name of the original. A link needs no node: its directory is root's
// alone, so it is not going to be something else.
func (s *stage) copy(r *replica, original *node, item fs.DirEntry) error {
	if item.Name() == copiedCA {
		return nil
	}
	if item.Type() == fs.ModeSymlink {
		target, err := readlinkat(original.fd, item.Name())
		if err != nil {
			s.plan.skip(path.Join(original.path, item.Name()), err)
			return nil
		}
		return wrapCopy(r.root.Symlink(target, item.Name()))
	}
	n, err := original.child(item.Name())
	if err != nil {
		s.plan.skip(path.Join(original.path, item.Name()), err)
		return nil
	}
	keep, err := s.copyNode(r, n)
	if !keep {
		n.close()
	}
	return err
}

// copyNode tells whether it kept the node, to be mounted later.
func (s *stage) copyNode(r *replica, n *node) (bool, error) {
	switch n.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if slices.Contains(bundles, n.path) {
			return false, wrapCopy(s.root.Link(bundleFile, path.Join(r.name, n.name)))
		}
		if n.stat.Mode&unix.S_IROTH != 0 && n.stat.Size <= maxCopy {
			return false, s.copyFile(r, n)
		}
		// A file that not everybody may read keeps its own rights: it is never copied.
		return s.carry(r, n, s.write(r.root, n.name, nil))
	case unix.S_IFDIR:
		return s.carry(r, n, mkdir(r.root, n.name))
	}
	s.plan.skip(n.path, &refusal{n.path, "neither file, directory nor link"})
	return false, nil
}

func wrapCopy(err error) error {
	if err != nil {
		return fmt.Errorf("copy directory: %w", err)
	}
	return nil
}

func (s *stage) copyFile(r *replica, n *node) error {
	if r.bytes += n.stat.Size; r.bytes > maxCopyTotal {
		return &refusal{n.path, fmt.Sprintf("directory larger than %d bytes", maxCopyTotal)}
	}
	data, err := n.read(maxCopy)
	if err != nil {
		s.plan.skip(n.path, err)
		return nil
	}
	return s.write(r.root, n.name, data)
}

func (s *stage) carry(r *replica, n *node, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	if len(r.carried) == maxCarried {
		s.plan.warn("copy of %q lacks %q: more than %d of its kind", path.Dir(n.path), n.name, maxCarried)
		return false, nil
	}
	r.carried = append(r.carried, n)
	return true, nil
}
