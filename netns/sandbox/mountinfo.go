// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint is a line of /proc/self/mountinfo (proc(5)).
type mountPoint struct {
	id     uint64
	device string // major:minor
	root   string // what of the filesystem is mounted
	path   string
	kind   string  // of filesystem
	flags  uintptr // MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC
}

// mountFlags are the options that a remount must repeat, as it clears the ones
// that it does not name; access times it keeps.
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
}

// mountPoints reads the mounts of this mount namespace.
func mountPoints() ([]mountPoint, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return parseMountinfo(string(text))
}

func parseMountinfo(text string) ([]mountPoint, error) {
	var all []mountPoint
	for line := range strings.Lines(text) {
		place, source, found := strings.Cut(line, " - ") // optional fields end there
		fields := strings.Fields(place)
		if !found || len(fields) < 6 {
			return nil, fmt.Errorf("parse mount %q: %w", line, unix.EBADMSG)
		}
		kind, _, _ := strings.Cut(source, " ")
		id, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("parse mount %q: %w", line, err)
		}
		m := mountPoint{id: id, device: fields[2], root: unescape(fields[3]), path: unescape(fields[4]), kind: kind}
		for option := range strings.SplitSeq(fields[5], ",") {
			m.flags |= mountFlags[option]
		}
		all = append(all, m)
	}
	return all, nil
}

// escapes are what the kernel writes for the characters that separate fields.
var escapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")

func unescape(path string) string { return escapes.Replace(path) }

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
func (p *pid1) harden(points []mountPoint, v *view) error {
	for _, m := range points {
		fd, reached, err := m.reach()
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && !reached {
			continue
		}
		if err == nil {
			if m.kind == "autofs" {
				// A lookup in there makes the host resolve and mount what it names.
				err = p.cover(fd, "tmpfs", noSUID|noDev|noExec, setting{"mode", "0755"}, setting{"size", "64k"})
			} else {
				err = remount(fd, m.flags|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV)
			}
			unix.Close(fd)
		}
		if err == nil {
			continue
		}
		if m.path == "/" {
			return fmt.Errorf("make / read-only: %w", err)
		}
		if detach := unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); detach != nil {
			return fmt.Errorf("make %q read-only: %w", m.path, errors.Join(err, detach))
		}
		if withinAny(m.path, systemTrees) || v.home != nil && within(m.path, v.home.path) {
			continue // and covered in any case
		}
		if err := p.warn("mount %q is left out: %v", m.path, err); err != nil {
			return err
		}
	}
	return nil
}

// reach opens the mount's root and reports whether its path leads there.
func (m mountPoint) reach() (fd int, reached bool, err error) {
	if fd, err = openExact(m.path); err != nil {
		return -1, false, err
	}
	id, err := mountID(fd)
	if err != nil || id != m.id {
		unix.Close(fd)
		return -1, false, err
	}
	return fd, true, nil
}

// verify refuses a mount within reach that is writable and not ours, or that
// honours set-user-id or, outside /dev, devices.
func (m mounts) verify() error {
	points, err := mountPoints()
	if err != nil {
		return err
	}
	for _, point := range points {
		closed := point.flags&unix.MS_RDONLY != 0 || m.own[point.device] || m.binds[point.id]
		noDevices := point.flags&unix.MS_NODEV != 0 || m.own[point.device] || within(point.path, "/dev")
		if closed && noDevices && point.flags&unix.MS_NOSUID != 0 {
			continue
		}
		fd, reached, err := point.reach()
		if reached {
			unix.Close(fd)
		}
		if reached || err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("mount %q is writable or honours set-user-id or devices: %w", point.path, unix.EPERM)
		}
	}
	return nil
}
