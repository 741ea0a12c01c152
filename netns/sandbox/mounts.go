// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// mounts are what was mounted here and stays writable.
type mounts struct {
	own   map[string]bool // the session's own filesystems, by device number
	binds map[uint64]bool // places of the host, by mount id
}

func newMounts() mounts {
	return mounts{own: make(map[string]bool), binds: make(map[uint64]bool)}
}

// addOwn records the filesystem whose root fd is.
func (m mounts) addOwn(fd int) error {
	device, err := deviceNumber(fd)
	m.own[device] = err == nil
	return err
}

// addBind records the mount whose root fd is.
func (m mounts) addBind(fd int) error {
	id, err := mountID(fd)
	m.binds[id] = err == nil
	return err
}

// covers reports whether the folder fd is on a filesystem of the session's own.
func (m mounts) covers(fd int) (bool, error) {
	device, err := deviceNumber(fd)
	return m.own[device], err
}

func deviceNumber(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))), nil
}

// harden makes every mount of the host read-only, without set-user-id and
// without devices: the agent's are those of its own /dev. One
// that does not let itself be opened, such as another user's FUSE, is detached.
// One below another mount is out of reach.
func (p *pid1) harden(points []mountinfo.Mount, v *view) error {
	for _, m := range points {
		fd, reached, err := reach(m)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && !reached {
			continue
		}
		if err == nil {
			if m.Kind == "autofs" {
				// A lookup in there makes the host resolve and mount what it names.
				err = p.cover(fd, "tmpfs", noSUID|noDev|noExec, setting{"mode", "0755"}, setting{"size", "64k"})
			} else {
				err = remount(fd, m.Flags|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV)
			}
			unix.Close(fd)
		}
		if err == nil {
			continue
		}
		if m.Path == "/" {
			return fmt.Errorf("make / read-only: %w", err)
		}
		if detach := unix.Unmount(m.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); detach != nil {
			return fmt.Errorf("make %q read-only: %w", m.Path, errors.Join(err, detach))
		}
		if withinAny(m.Path, systemTrees) || v.home != nil && within(m.Path, v.home.path) {
			continue // and covered in any case
		}
		if err := p.warn("mount %q is left out: %v", m.Path, err); err != nil {
			return err
		}
	}
	return nil
}

// reach opens the mount's root and reports whether its path leads there.
func reach(m mountinfo.Mount) (fd int, reached bool, err error) {
	if fd, err = openExact(m.Path); err != nil {
		return -1, false, err
	}
	id, err := mountID(fd)
	if err != nil || id != m.ID {
		unix.Close(fd)
		return -1, false, err
	}
	return fd, true, nil
}

// verify refuses a mount within reach that is writable and not ours, or that
// honours set-user-id or, outside /dev, devices.
func (m mounts) verify() error {
	points, err := mountinfo.Read()
	if err != nil {
		return err
	}
	for _, point := range points {
		closed := point.Flags&unix.MS_RDONLY != 0 || m.own[point.Device] || m.binds[point.ID]
		noDevices := point.Flags&unix.MS_NODEV != 0 || m.own[point.Device] || within(point.Path, "/dev")
		if closed && noDevices && point.Flags&unix.MS_NOSUID != 0 {
			continue
		}
		fd, reached, err := reach(point)
		if reached {
			unix.Close(fd)
		}
		if reached || err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("mount %q is writable or honours set-user-id or devices: %w", point.Path, unix.EPERM)
		}
	}
	return nil
}
