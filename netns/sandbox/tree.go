// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Everything here works on descriptors: a path that a user could change is
// resolved once, without links, and what was opened is what is mounted
// (CVE-2021-30465, CVE-2019-19921: runc's mounts by path raced). Mounts go from
// descriptor to descriptor by open_tree(2), fsmount(2) and move_mount(2), Linux
// 5.2; openat2(2) is of 5.6.

// openExact opens path, which must be without links, for mounting on or from.
func openExact(path string) (int, error) {
	return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC, // with O_NOFOLLOW it would open a link itself
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// openTrusted opens path, and follows links on the way that only root could
// have made. A link that somebody else could have planted is ELOOP.
func openTrusted(path string) (int, error) {
	fd, err := openExact(path)
	if !errors.Is(err, unix.ELOOP) {
		return fd, err
	}
	if path, err = resolve(path); err != nil {
		return -1, err
	}
	return openExact(path)
}

// linkLimit is how many links a path may pass (MAXSYMLINKS, path_resolution(7)).
const linkLimit = 40

// resolve follows the links of path that only root could have made, and
// returns a path without links. What does not exist is kept as it is.
func resolve(name string) (string, error) {
	done, rest := "/", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			done = path.Dir(done)
			continue
		}
		target, err := rootLink(done, part)
		if errors.Is(err, unix.ENOENT) {
			return path.Join(append([]string{done, part}, rest...)...), nil
		}
		if err != nil {
			return "", err
		}
		if target == "" {
			done = path.Join(done, part)
			continue
		}
		if links++; links > linkLimit {
			return "", unix.ELOOP
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// rootLink returns the target of the link name in dir, or "" when it is none.
func rootLink(dir, name string) (string, error) {
	fd, err := openExact(dir)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var parent, link unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &parent), unix.Fstatat(fd, name, &link, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return "", err
	}
	if link.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", nil
	}
	if parent.Uid != 0 || parent.Mode&0o022 != 0 || link.Uid != 0 {
		return "", fmt.Errorf("follow link %q, which is not root's: %w", path.Join(dir, name), unix.ELOOP)
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buffer)
	return string(buffer[:max(n, 0)]), err
}

// setting is an option of a new filesystem; without a value it is a flag.
type setting struct{ key, value string }

// newMount makes a filesystem that is mounted nowhere yet.
func newMount(kind string, attributes int, settings ...setting) (int, error) {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open filesystem %s: %w", kind, err)
	}
	defer unix.Close(context)
	for _, s := range settings {
		if s.value == "" {
			err = unix.FsconfigSetFlag(context, s.key)
		} else {
			err = unix.FsconfigSetString(context, s.key, s.value)
		}
		if err != nil {
			return -1, fmt.Errorf("set %s of %s: %w", s.key, kind, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("make %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	return fd, nil
}

// clone makes a copy, mounted nowhere yet, of what fd is, with the mounts below
// it.
func clone(fd int) (int, error) {
	copied, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("clone mount: %w", err)
	}
	return copied, nil
}

// attach mounts tree on target.
func attach(tree, target int) error {
	err := unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	return nil
}

// remount gives the mount whose root fd is the flags (MS_RDONLY and so on) in
// place of those it had. mount_setattr(2) would do without /proc, from 5.12.
func remount(fd int, flags uintptr) error {
	err := unix.Mount("", procFD(fd), "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	if err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	return nil
}

// procFD is a path to what fd is.
func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// mountID is the id of the mount that fd is on (statx, 5.8).
func mountID(fd int) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
	if err != nil {
		return 0, fmt.Errorf("read mount id: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, fmt.Errorf("read mount id, which Linux has from 5.8: %w", unix.ENOTSUP)
	}
	return st.Mnt_id, nil
}

// fileType is what fd is: S_IFDIR and so on.
func fileType(fd int) (uint32, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Mode & unix.S_IFMT, err
}
