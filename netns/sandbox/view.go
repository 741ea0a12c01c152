// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// Nobody works here: everything at or below is the system's, or ours.
var systemTrees = []string{
	"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/proc", "/run",
	"/sbin", "/snap", "/sys", "/usr", "/var/lib/phantom-ns", "/var/log/phantom-ns", "/var/run",
}

// Nor here, though folders below may be somebody's.
var systemFolders = []string{
	"/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/cache", "/var/lib",
	"/var/log", "/var/spool", "/var/tmp",
}

// ours are the folders that no option shows to the agent.
var ours = []string{"/etc/phantom-ns", "/run/phantom-ns", "/var/lib/phantom-ns", "/var/log/phantom-ns"}

// within reports whether name is dir or below it.
func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

func withinAny(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(name, dir) })
}

// source is a place of the host, opened before anything covers it.
type source struct {
	path  string // without links
	fd    int
	kind  uint32  // S_IFDIR or S_IFREG
	flags uintptr // of the mount it is on
}

// view is what the agent is to see of the host.
type view struct {
	points  []mountinfo.Mount  // the host's mounts
	flags   map[uint64]uintptr // of them, by id
	home    *source            // nil when there is none
	dir     *source
	write   []source // sorted, so that an outer path comes first
	expose  []source
	devices []source
	links   map[string]string // of /run
}

// openView opens it. Points are the host's mounts.
func (p *pid1) openView(points []mountinfo.Mount) (v *view, err error) {
	v = &view{points: points, flags: make(map[uint64]uintptr), links: runLinks()}
	for _, m := range points {
		v.flags[m.ID] = m.Flags
	}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	spec := &p.body.Spec
	if v.devices, err = v.openDevices(); err != nil {
		return v, err
	}
	if err := v.openHome(spec.User.Home); err != nil {
		return v, err
	}
	if err := p.openDir(v, spec.Dir); err != nil {
		return v, err
	}
	for _, name := range spec.Write {
		if err := p.openWrite(v, name); err != nil {
			return v, err
		}
	}
	slices.SortFunc(v.write, func(a, b source) int { return strings.Compare(a.path, b.path) })
	for _, name := range spec.Expose {
		if err := p.openExpose(v, name); err != nil {
			return v, err
		}
	}
	return v, nil
}

// open opens the folder or regular file name.
func (v *view) open(name string) (s source, err error) {
	s.path = path.Clean(name)
	s.fd, err = openExact(s.path)
	if errors.Is(err, unix.ELOOP) {
		if s.path, err = resolve(s.path); err == nil {
			s.fd, err = openExact(s.path)
		}
	}
	if err != nil {
		return s, fmt.Errorf("open %q: %w", name, err)
	}
	id, err := mountID(s.fd)
	if err == nil {
		s.flags = v.flags[id]
		s.kind, err = fileType(s.fd)
	}
	if err != nil {
		return s, errors.Join(fmt.Errorf("open %q: %w", name, err), unix.Close(s.fd))
	}
	return s, nil
}

// openHome opens the home folder; a user may have none, or the system's.
func (v *view) openHome(name string) error {
	if name == "" {
		return nil
	}
	s, err := v.open(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if s.kind != unix.S_IFDIR || withinAny(s.path, systemTrees) || slices.Contains(systemFolders, s.path) {
		return unix.Close(s.fd)
	}
	v.home = &s
	return nil
}

// openDir opens the working directory. The home folder as such stays an
// overlay: files there run by themselves when the user logs in.
func (p *pid1) openDir(v *view, name string) error {
	s, err := v.open(name)
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	v.dir = &s
	if s.kind != unix.S_IFDIR {
		return fmt.Errorf("working directory %q: %w", name, unix.ENOTDIR)
	}
	if v.home != nil && s.path == v.home.path {
		return p.warn("the working directory is the home folder: what is written there is discarded")
	}
	if p.body.Spec.DirRead {
		return nil
	}
	if err := v.refuse(s.path); err != nil {
		return fmt.Errorf("working directory %q: %w", name, err)
	}
	v.write = append(v.write, s)
	return nil
}

// openWrite opens a path to be written for real. One that is missing is not
// made: that would be written as root in a place of the user's.
func (p *pid1) openWrite(v *view, name string) error {
	s, err := v.open(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		return p.warn("%q stays as the rest of the host is: %v", name, err)
	}
	if err != nil {
		return fmt.Errorf("write path: %w", err)
	}
	v.write = append(v.write, s)
	if s.kind != unix.S_IFDIR && s.kind != unix.S_IFREG {
		return fmt.Errorf("write path %q is neither folder nor file: %w", name, unix.EINVAL)
	}
	if v.home != nil && s.path == v.home.path {
		return fmt.Errorf("write path %q is the home folder: %w", name, unix.EPERM)
	}
	if err := v.refuse(s.path); err != nil {
		return fmt.Errorf("write path %q: %w", name, err)
	}
	return nil
}

// refuse is an error for what must not be writable for real.
func (v *view) refuse(name string) error {
	if withinAny(name, systemTrees) || slices.Contains(systemFolders, name) {
		return fmt.Errorf("is the system's: %w", unix.EPERM)
	}
	if v.home != nil && within(v.home.path, name) {
		return fmt.Errorf("contains the home folder: %w", unix.EPERM)
	}
	return nil
}

// openExpose opens a path to be shown though a cover would hide it.
func (p *pid1) openExpose(v *view, name string) error {
	s, err := v.open(name)
	if errors.Is(err, unix.ENOENT) {
		return p.warn("nothing to expose: %v", err)
	}
	if err != nil {
		return fmt.Errorf("expose: %w", err)
	}
	v.expose = append(v.expose, s)
	for _, own := range ours {
		if within(s.path, own) || within(own, s.path) {
			return fmt.Errorf("expose %q: %w", name, unix.EPERM)
		}
	}
	return nil
}

// close closes what openView opened.
func (v *view) close() {
	all := slices.Concat(v.write, v.expose, v.devices)
	if v.home != nil {
		all = append(all, *v.home)
	}
	if v.dir != nil {
		all = append(all, *v.dir)
	}
	seen := make(map[int]bool) // the working directory is also one of write
	for _, s := range all {
		if !seen[s.fd] {
			unix.Close(s.fd)
		}
		seen[s.fd] = true
	}
}
