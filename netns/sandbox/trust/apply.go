// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// Apply writes the covers into staging and mounts them.
//
// Preconditions: the caller is root in a private mount namespace, on a thread that is locked to
// it; staging exists, absolute, on a tmpfs, writable by root alone, and stays reachable to the
// agent as Dir. It is the place to mount nosuid,nodev,noexec; covers are read-only besides.
//
// A target that lies in a place of the user's and cannot be covered is a warning; one in the
// system's is an error, because a client would then not trust the session for no visible reason.
// After an error the namespace is half covered: discard it.
func (p *Plan) Apply(staging string) error {
	mounts, err := mountinfo.Read()
	if err != nil {
		return fmt.Errorf("apply trust: %w", err)
	}
	if err := requirePrivate(mounts); err != nil {
		return fmt.Errorf("apply trust: %w", err)
	}
	if err := requireTmpfs(staging); err != nil {
		return fmt.Errorf("apply trust: %w", err)
	}
	s, err := newStage(p, staging)
	if err != nil {
		return fmt.Errorf("apply trust: %w", err)
	}
	defer s.close()
	t, err := openTree(p.options.Root, p.options.owner)
	if err != nil {
		return fmt.Errorf("apply trust: %w", err)
	}
	defer t.close()
	for _, target := range p.targets {
		err := s.cover(t, target)
		if err != nil && target.system && !missing(err) {
			return fmt.Errorf("apply trust: cover %q: %w", target.path, err)
		}
		if err != nil {
			p.skip(target.path, err)
		}
	}
	return nil
}

// cover finds a target again, by the same rules as Build did, and mounts over what it finds.
func (s *stage) cover(t *tree, target target) error {
	n, err := t.open(target.path)
	if err != nil {
		return err
	}
	defer n.release()
	if s.staged[n.inode()] {
		return nil // another path led here first
	}
	switch target.kind {
	case hashedKind, anchorKind:
		return s.coverDirectory(t, n, target)
	case javaKind:
		return s.coverStore(n, target)
	default:
		if err := n.regular(); err != nil {
			return err
		}
		return s.bind(bundleFile, n)
	}
}

func (s *stage) coverStore(n *node, target target) error {
	if err := n.regular(); err != nil {
		return err
	}
	name, err := s.store(target.store)
	if err != nil {
		return err
	}
	return s.bind(name, n)
}

// coverDirectory binds a copy and mounts back into it what was not copied.
func (s *stage) coverDirectory(t *tree, n *node, target target) error {
	if err := n.directory(); err != nil {
		return err
	}
	r, err := s.replicate(n, target.kind)
	if err != nil {
		return err
	}
	defer r.release()
	if err := s.bind(r.name, n); err != nil {
		return err
	}
	if len(r.carried) == 0 {
		return nil
	}
	covered, err := t.open(target.path)
	if err != nil {
		return err
	}
	defer covered.release()
	s.staged[covered.inode()] = true
	for _, original := range r.carried {
		if err := carryInto(covered, original); err != nil {
			return err
		}
	}
	return nil
}

func carryInto(covered, original *node) error {
	place, err := covered.child(original.name)
	if err != nil {
		return err
	}
	defer place.close()
	return attach(original.fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, place)
}

func (s *stage) bind(name string, n *node) error {
	return attach(unix.AT_FDCWD, filepath.Join(s.dir, name), unix.AT_SYMLINK_NOFOLLOW, n)
}

// attach mounts a file or directory over a node. Both ends are descriptors (open_tree and
// move_mount, Linux 5.2), so that no path is looked up again between check and mount: a bind
// onto /proc/self/fd/N without the need to trust /proc (compare CVE-2021-30465, runc).
func attach(dirfd int, source string, flags uint, n *node) error {
	mount, err := unix.OpenTree(dirfd, source, flags|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount: %w", err)
	}
	defer unix.Close(mount)
	if err := restrict(mount); err != nil {
		return fmt.Errorf("restrict mount: %w", err)
	}
	err = unix.MoveMount(mount, "", n.fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move mount: %w", err)
	}
	return nil
}

// restrict makes a mount read-only. mount_setattr is Linux 5.12; before that the covers'
// own mode (0444, root's) and the staging's mount flags say the same to an agent without
// capabilities, so its absence loses nothing.
func restrict(mount int) error {
	err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	})
	if err == unix.ENOSYS {
		return nil
	}
	return err
}

// requirePrivate refuses a namespace with a shared mount: a cover below it would appear in the
// host's own namespace.
func requirePrivate(mounts []mountinfo.Mount) error {
	for _, m := range mounts {
		if m.Shared {
			return fmt.Errorf("check propagation: mount %q is shared with other namespaces", m.Path)
		}
	}
	return nil
}

// requireTmpfs keeps covers off every disk of the host.
func requireTmpfs(staging string) error {
	if !filepath.IsAbs(staging) {
		return fmt.Errorf("check staging %q: not absolute", staging)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(staging, &st); err != nil {
		return fmt.Errorf("check staging %q: %w", staging, err)
	}
	if st.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("check staging %q: not on a tmpfs", staging)
	}
	return nil
}
