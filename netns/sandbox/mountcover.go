// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// mountCovers puts the copies of credential files over the files. It comes
// after everything that shows something of the host. A place that the user
// asked to see as it is stays so; one that is hidden stays hidden.
func (p *pid1) mountCovers(v *view) error {
	for i, c := range p.launch.Covers {
		staged := path.Join(coverDir, strconv.Itoa(i))
		if err := c.stage(staged); err != nil {
			return fmt.Errorf("copy %q: %w", c.Path, err)
		}
		for _, name := range append([]string{c.Path}, v.aliases(c.Path)...) {
			if slices.ContainsFunc(v.expose, func(s source) bool { return within(name, s.path) }) {
				continue
			}
			if err := p.coverPlace(name, staged, c); err != nil {
				return fmt.Errorf("cover %q: %w", name, err)
			}
		}
	}
	return nil
}

// stage makes the copy, where nobody but root gets.
func (c Cover) stage(name string) error {
	if !c.Folder {
		return makeCopy(name, c.Content, c.Mode, c.UID, c.GID)
	}
	if err := unix.Mkdir(name, 0o700); err != nil {
		return err
	}
	for _, f := range c.Files {
		if f.Name != path.Base(f.Name) || f.Name == ".." || f.Name == "." {
			return fmt.Errorf("name %q: %w", f.Name, unix.EINVAL)
		}
		if err := makeCopy(path.Join(name, f.Name), f.Content, f.Mode, f.UID, f.GID); err != nil {
			return err
		}
	}
	return errors.Join(unix.Lchown(name, c.UID, c.GID), unix.Chmod(name, c.Mode&0o777))
}

func makeCopy(name string, content []byte, mode uint32, uid, gid int) error {
	if err := os.WriteFile(name, content, 0o600); err != nil {
		return err
	}
	return errors.Join(unix.Lchown(name, uid, gid), unix.Chmod(name, mode&0o777))
}

// coverPlace covers what is at name, unless something of the session's own has
// covered it before. A place that has become something else is blanked.
func (p *pid1) coverPlace(name, staged string, c Cover) error {
	target, err := openExact(name)
	changed := errors.Is(err, unix.ELOOP)
	if changed {
		target, err = openAnything(name) // hiding too much harms nobody else
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	covered, err := sameFilesystem(target, trust.Dir)
	if covered || err != nil {
		return err
	}
	kind, err := fileType(target)
	switch {
	case err != nil:
		return err
	case kind == unix.S_IFDIR && c.Folder && !changed:
		return bindCover(staged, target)
	case kind != unix.S_IFREG || c.Folder || changed:
		return blankAt(target)
	}
	if p.home != 0 {
		// In the overlay the copy is a file like others, which tools may rename
		// and replace; a mount they could not.
		if id, err := mountID(target); err == nil && id == p.home && rewrite(name, c.Content) == nil {
			return nil
		}
	}
	return bindCover(staged, target)
}

// rewrite replaces the content of a file of the home overlay, in memory: what
// is below is not touched, and no longer in reach.
func rewrite(name string, content []byte) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, name, &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_TRUNC | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// bindCover mounts a copy on target, as writable as target was.
func bindCover(staged string, target int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(target, &st); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if st.Flags&unix.ST_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	fd, err := openExact(staged)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return show(fd, target, flags)
}

// sameFilesystem tells whether target is on the filesystem of the folder dir.
func sameFilesystem(target int, dir string) (bool, error) {
	fd, err := openExact(dir)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	own, err := deviceNumber(fd)
	if err != nil {
		return false, err
	}
	device, err := deviceNumber(target)
	return own == device, err
}

// aliases are the further paths at which the host's mounts show what name is:
// a folder bound elsewhere, a subvolume and its parent.
func (v *view) aliases(name string) []string {
	var on *mountinfo.Mount
	for i := range v.points {
		if m := &v.points[i]; within(name, m.Path) && (on == nil || len(m.Path) >= len(on.Path)) {
			on = m
		}
	}
	if on == nil {
		return nil
	}
	inner := path.Join(on.Root, strings.TrimPrefix(name, on.Path))
	var all []string
	for _, m := range v.points {
		if m.Device != on.Device || !within(inner, m.Root) {
			continue
		}
		alias := path.Join(m.Path, strings.TrimPrefix(inner, strings.TrimSuffix(m.Root, "/")))
		if alias != name && !slices.Contains(all, alias) {
			all = append(all, alias)
		}
	}
	return all
}
