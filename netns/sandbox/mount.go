// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// Attributes of new mounts.
const (
	readOnly = unix.MOUNT_ATTR_RDONLY
	noSUID   = unix.MOUNT_ATTR_NOSUID
	noDev    = unix.MOUNT_ATTR_NODEV
	noExec   = unix.MOUNT_ATTR_NOEXEC
)

// filesystem is a new filesystem over a folder of the host.
type filesystem struct {
	path, kind string
	attributes int
	settings   []setting
	optional   bool // skipped where the host has no such folder
}

// filesystems are mounted in this order, over everything that the host has
// there: the session's own processes, devices and scratch space, a /sys of the
// session's network namespace with no cgroups and no bpf in it, and nothing in
// the place of our own files. 5 is the tty group's number by convention.
var filesystems = []filesystem{
	{path: "/proc", kind: "proc", attributes: noSUID | noDev | noExec},
	{path: "/sys", kind: "sysfs", attributes: readOnly | noSUID | noDev | noExec},
	{path: "/dev", kind: "tmpfs", attributes: noSUID | noExec, settings: []setting{{"mode", "0755"}, {"size", "1m"}}},
	{path: "/run", kind: "tmpfs", attributes: noSUID | noDev, settings: []setting{{"mode", "0755"}}},
	{path: "/var/run", kind: "tmpfs", attributes: noSUID | noDev, settings: []setting{{"mode", "0755"}}, optional: true},
	{path: "/tmp", kind: "tmpfs", attributes: noSUID | noDev, settings: []setting{{"mode", "1777"}}},
	{path: "/var/tmp", kind: "tmpfs", attributes: noSUID | noDev, settings: []setting{{"mode", "1777"}}, optional: true},
	{path: "/etc/phantom-ns", kind: "tmpfs", attributes: readOnly | noSUID | noDev | noExec, optional: true},
	{path: "/var/lib/phantom-ns", kind: "tmpfs", attributes: readOnly | noSUID | noDev | noExec, optional: true},
	{path: "/var/log/phantom-ns", kind: "tmpfs", attributes: readOnly | noSUID | noDev | noExec, optional: true},
}

// mount builds the agent's view of the host's files. The order matters: what is
// to be shown again is opened before it is covered; the host's mounts are made
// read-only before ours exist; inner paths come after the outer ones.
func (p *pid1) mount() error {
	p.own = newMounts()
	unix.Umask(0) // modes are given in full here
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	points, err := mountinfo.Read()
	if err != nil {
		return err
	}
	if p.view, err = p.openView(points); err != nil {
		return err
	}
	if err := p.harden(points, p.view); err != nil {
		return err
	}
	return p.look(
		p.mountSystem, p.mountRun, p.maskProc, p.mountDevices, p.mountHome, p.mountWritable, p.protectFolders,
		p.hide, p.expose,
	)
}

// putCovers puts what came with the launch over the view, and ends it.
func (p *pid1) putCovers() error {
	defer p.view.close()
	return p.look(p.writeGiven, p.coverSockets, p.mountCovers, p.mountFiles, p.prepareRules)
}

// look does the steps of one stage, each of which uses the view.
func (p *pid1) look(steps ...func(*view) error) error {
	for _, step := range steps {
		if err := step(p.view); err != nil {
			return err
		}
	}
	return nil
}

func (p *pid1) mountSystem(*view) error {
	for _, f := range filesystems {
		if err := p.mountFilesystem(f); err != nil {
			return fmt.Errorf("cover %s: %w", f.path, err)
		}
	}
	return nil
}

// mountFilesystem covers one folder. A link there, as /var/run is to /run,
// leads to a folder that is covered already.
func (p *pid1) mountFilesystem(f filesystem) error {
	target, err := openTrusted(f.path)
	if f.optional && errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if covered, err := p.own.covers(target); covered || err != nil {
		return err
	}
	return p.cover(target, f.kind, f.attributes, f.settings...)
}

// cover mounts a new filesystem on target.
func (p *pid1) cover(target int, kind string, attributes int, settings ...setting) error {
	tree, err := newMount(kind, attributes, settings...)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := attach(tree, target); err != nil {
		return err
	}
	if attributes&readOnly != 0 {
		return nil
	}
	return p.own.addOwn(tree)
}

// secrets of /proc: of the kernel, not of a process, and for root alone anyway.
// sysrq-trigger and the folders of settings stay readable.
var (
	procMasked = []string{
		"acpi", "asound", "kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup", "kpagecount",
		"kpageflags", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats",
	}
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
)

// maskProc covers what of /proc is not the session's. With nested sandboxes
// permitted it does not: the kernel lets a user namespace mount a /proc of its
// own only where none of the one above is covered (mount_too_revealing).
func (p *pid1) maskProc(*view) error {
	if p.body.Spec.permits(PermitNestedSandbox) {
		return nil
	}
	for _, name := range procMasked {
		if err := blank("/proc/" + name); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mask /proc/%s: %w", name, err)
		}
	}
	for _, name := range procReadOnly {
		if err := protect("/proc/" + name); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("protect /proc/%s: %w", name, err)
		}
	}
	return nil
}

// blank covers path by an empty folder or an empty file.
func blank(path string) error {
	target, err := openExact(path)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return blankAt(target)
}

func blankAt(target int) error {
	kind, err := fileType(target)
	if err != nil {
		return err
	}
	if kind == unix.S_IFDIR {
		return bindReadOnly(emptyDir, target)
	}
	return bindReadOnly(emptyFile, target)
}

// protect makes what path is read-only.
func protect(path string) error {
	target, err := openExact(path)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return bindReadOnly(path, target)
}

// bindReadOnly mounts the file or folder source, which is root's, on target.
func bindReadOnly(source string, target int) error {
	fd, err := openExact(source)
	if err != nil {
		return fmt.Errorf("open %s: %w", source, err)
	}
	defer unix.Close(fd)
	return show(fd, target, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
}

// show mounts what source is on target, with the flags.
func show(source, target int, flags uintptr) error {
	tree, err := clone(source)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := attach(tree, target); err != nil {
		return err
	}
	return remount(tree, flags)
}
