// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// mountHome shows the home folder, with writes that go to memory and are
// discarded, or read-only where the kernel refuses an overlay of it.
func (p *pid1) mountHome(v *view) error {
	if v.home == nil {
		if p.body.Spec.User.Home == "" || p.body.Spec.HomeMode == HomeReadOnly {
			return nil
		}
		return p.warn("home folder %q is missing or the system's: nothing can be written there", p.body.Spec.User.Home)
	}
	target, err := p.place(*v.home)
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	defer unix.Close(target)
	if p.body.Spec.HomeMode != HomeReadOnly {
		err := p.overlay(*v.home, target)
		if err == nil {
			return nil
		}
		if err := p.warn("the home folder is read-only, but for empty caches: %v", err); err != nil {
			return err
		}
	}
	if err := show(v.home.fd, target, v.home.flags|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return fmt.Errorf("show home: %w", err)
	}
	if p.body.Spec.HomeMode == HomeReadOnly {
		return nil
	}
	return p.mountCaches(v.home.path)
}

// caches are folders of the home that most tools cannot do without writing to.
// Where there is no overlay they are empty, and the session's own.
var caches = []string{".cache", ".npm", ".local/state"}

func (p *pid1) mountCaches(home string) error {
	user := p.body.Spec.User
	for _, name := range caches {
		target, err := openExact(path.Join(home, name))
		if err != nil {
			continue // not there, or a link: nothing is made on the host
		}
		kind, err := fileType(target)
		if err == nil && kind == unix.S_IFDIR {
			err = p.cover(target, "tmpfs", noSUID|noDev, setting{"mode", "0700"},
				setting{"uid", strconv.Itoa(user.UID)}, setting{"gid", strconv.Itoa(user.GID)})
		}
		if err := errors.Join(err, unix.Close(target)); err != nil {
			return fmt.Errorf("make ~/%s writable: %w", name, err)
		}
	}
	return nil
}

// overlay mounts an overlay of home on target. Besides discarding writes it
// keeps sockets in the home folder from leading out: connecting to one through
// an overlay is refused (measured: ECONNREFUSED).
func (p *pid1) overlay(home source, target int) error {
	// As root squashed by NFS, the overlay could read nothing for the user.
	probe, err := unix.Open(procFD(home.fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read home: %w", err)
	}
	defer unix.Close(probe)
	var st unix.Stat_t
	if err := unix.Fstat(probe, &st); err != nil {
		return fmt.Errorf("read home: %w", err)
	}
	upper := homeDir + "/upper"
	if err := unix.Lchown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("prepare home: %w", err)
	}
	if err := unix.Chmod(upper, st.Mode&0o7777); err != nil {
		return fmt.Errorf("prepare home: %w", err)
	}
	if err := p.cover(target, "overlay", noSUID|noDev,
		// A path of the user's could hold the characters that separate options.
		setting{"lowerdir", procFD(home.fd)},
		setting{"upperdir", upper},
		setting{"workdir", homeDir + "/work"}); err != nil {
		return err
	}
	top, err := openExact(home.path)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	p.home, err = mountID(top)
	return err
}

// mountWritable shows the places that are written for real.
func (p *pid1) mountWritable(v *view) error {
	for _, s := range v.write {
		if err := p.mountSource(s, s.flags|unix.MS_NOSUID|unix.MS_NODEV); err != nil {
			return fmt.Errorf("make %q writable: %w", s.path, err)
		}
	}
	return nil
}

// protectFolders makes folders read-only in the midst of what is written for
// real. One that is missing, or a link, stays so: nothing is made on the host.
func (p *pid1) protectFolders(v *view) error {
	for _, name := range p.body.Spec.Protect {
		if !slices.ContainsFunc(v.write, func(s source) bool { return within(name, s.path) }) {
			continue // read-only or discarded anyway
		}
		target, err := openExact(name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err == nil {
			err = errors.Join(p.protectFolder(target), unix.Close(target))
		}
		if err != nil {
			return fmt.Errorf("protect %q: %w", name, err)
		}
	}
	return nil
}

func (p *pid1) protectFolder(target int) error {
	kind, err := fileType(target)
	if err != nil || kind != unix.S_IFDIR {
		return err
	}
	return show(target, target, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV)
}

// mountSource shows s in its place. Mounts below it come along, read-only.
func (p *pid1) mountSource(s source, flags uintptr) error {
	target, err := p.place(s)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	tree, err := clone(s.fd)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := attach(tree, target); err != nil {
		return err
	}
	if err := remount(tree, flags); err != nil {
		return err
	}
	if flags&unix.MS_RDONLY != 0 {
		return nil
	}
	return p.own.addBind(tree)
}

// openAnything opens path, over links, to cover what it leads to: hiding too
// much harms nobody else.
func openAnything(path string) (int, error) {
	return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
}

// hide covers the paths that the agent shall not see.
func (p *pid1) hide(v *view) error {
	for _, path := range p.body.Spec.Hide {
		target, err := openAnything(path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			// Where the agent writes, one session may have moved it for the next.
			if slices.ContainsFunc(v.write, func(s source) bool { return within(path, s.path) }) {
				if err := p.warn("nothing to hide at %q: has it been moved?", path); err != nil {
					return err
				}
			}
			continue
		}
		if err == nil {
			err = errors.Join(blankAt(target), unix.Close(target))
		}
		if err != nil {
			return fmt.Errorf("hide %q: %w", path, err)
		}
	}
	return nil
}

// expose shows, read-only, what a cover would hide.
func (p *pid1) expose(v *view) error {
	for _, s := range v.expose {
		if err := p.mountSource(s, s.flags|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV); err != nil {
			return fmt.Errorf("expose %q: %w", s.path, err)
		}
	}
	return nil
}
