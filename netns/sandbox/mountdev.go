// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The agent's /dev: these devices of the host, a terminal multiplexer and
// shared memory of its own, and the usual links.
var (
	devices = []string{"full", "null", "random", "tty", "urandom", "zero"}

	deviceLinks = []struct{ name, target string }{
		{"fd", "/proc/self/fd"},
		{"ptmx", "pts/ptmx"},
		{"stderr", "/proc/self/fd/2"},
		{"stdin", "/proc/self/fd/0"},
		{"stdout", "/proc/self/fd/1"},
	}

	deviceFilesystems = []filesystem{
		{path: "/dev/pts", kind: "devpts", attributes: noSUID | noExec, settings: []setting{
			{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"},
		}},
		{path: "/dev/shm", kind: "tmpfs", attributes: noSUID | noDev, settings: []setting{{"mode", "1777"}}},
	}
)

// openDevices opens the host's devices, which must be root's.
func (v *view) openDevices() (all []source, err error) {
	for _, name := range devices {
		s, err := v.open("/dev/" + name)
		if err != nil {
			return all, err
		}
		all = append(all, s)
		var st unix.Stat_t
		if err := unix.Fstat(s.fd, &st); err != nil {
			return all, fmt.Errorf("read %s: %w", s.path, err)
		}
		if s.kind != unix.S_IFCHR || st.Uid != 0 {
			return all, fmt.Errorf("%s is no device of root's: %w", s.path, unix.ENODEV)
		}
	}
	return all, nil
}

// mountDevices fills the new /dev, which nobody else can reach yet.
func (p *pid1) mountDevices(v *view) error {
	for _, s := range v.devices {
		if err := p.mountDevice(s); err != nil {
			return fmt.Errorf("bind %s: %w", s.path, err)
		}
	}
	for _, l := range deviceLinks {
		if err := unix.Symlink(l.target, "/dev/"+l.name); err != nil {
			return fmt.Errorf("link /dev/%s: %w", l.name, err)
		}
	}
	for _, f := range deviceFilesystems {
		if err := unix.Mkdir(f.path, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", f.path, err)
		}
		target, err := openExact(f.path)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.path, err)
		}
		err = p.cover(target, f.kind, f.attributes, f.settings...)
		if err := errors.Join(err, unix.Close(target)); err != nil {
			return fmt.Errorf("mount %s: %w", f.path, err)
		}
	}
	return nil
}

// mountDevice shows one device. A read-only mount does not keep anybody from
// writing to a device.
func (p *pid1) mountDevice(s source) error {
	target, err := p.place(s)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return show(s.fd, target, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC)
}
