// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Isolate gives the calling thread, and what it starts, a mount namespace in
// which it may write to /etc, /home, /var/lib and /var/log without a trace, and
// in which [User] exists. Writes land in a tmpfs that vanishes with the
// namespace; it is mounted on scratch, an empty directory. The caller has
// locked the thread.
func Isolate(scratch string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, dir := range []string{"/etc", "/var/lib", "/var/log", "/home"} {
		if err := overlay(dir, scratch); err != nil {
			return err
		}
	}
	// The overlays keep the tmpfs: nobody else needs a path to it.
	if err := unix.Unmount(scratch, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("hide tmpfs: %w", err)
	}
	if err := forget(); err != nil {
		return err
	}
	if err := addUser(); err != nil {
		return err
	}
	return makeHome()
}

// forget hides what the machine's own phantom-ns has: policy, store and log.
// The files below the overlays stay.
func forget() error {
	for _, dir := range []string{etc, "/var/lib/phantom-ns", "/var/log/phantom-ns"} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return os.Mkdir(etc, 0o755)
}

// overlay covers dir with itself, writes going to scratch.
func overlay(dir, scratch string) error {
	base := filepath.Join(scratch, strings.ReplaceAll(dir, "/", "-"))
	upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay %s: %w", dir, err)
	}
	return nil
}

// addUser appends the invoking user to the world's own user database.
func addUser() error {
	lines := map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", User, UID, GID, Home),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", User, GID),
	}
	for file, line := range lines {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(line)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("add user: %w", err)
		}
	}
	return nil
}

// makeHome gives the user a home on a file system of its own: a session's own
// overlay of it then stays within the kernel's limit of two stacked overlays
// (FILESYSTEM_MAX_STACK_DEPTH).
func makeHome() error {
	if err := os.MkdirAll(Home, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", Home, "tmpfs", 0, fmt.Sprintf("mode=0750,uid=%d,gid=%d", UID, GID)); err != nil {
		return fmt.Errorf("mount home: %w", err)
	}
	if err := os.Mkdir(Work, 0o755); err != nil {
		return err
	}
	return os.Chown(Work, UID, GID)
}
