// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// StateDir holds one directory per session. It lives on a file system that a
// reboot empties.
const StateDir = "/run/phantom-ns"

// state is what is written down of a session so that a later process can
// sweep it. Nothing in it is secret.
type state struct {
	ID      string    `json:"id"`
	PID     int       `json:"pid"`
	UID     int       `json:"uid"`
	Command string    `json:"command"`
	Cgroup  string    `json:"cgroup"`
	Started time.Time `json:"started"`
	Stored  []string  `json:"stored,omitempty"` // names in the store that the session uses, or may
	Member  bool      `json:"member,omitempty"` // the daemon began it for UID
}

// stateDir is a session's own directory. Its lock is held for as long as the
// supervisor lives; the kernel lets go of it however the supervisor ends.
type stateDir struct {
	path string
	lock *os.File
}

// newStateDir makes the directory and takes its lock before anything else of
// the session exists, so that no sweep can mistake a starting session for a
// dead one.
func newStateDir(id string) (*stateDir, error) {
	if err := os.MkdirAll(StateDir, 0o711); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	starts, err := lockStateDir(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer starts.Close()
	d := &stateDir{path: filepath.Join(StateDir, id)}
	// Created under a name that a sweep passes over while anybody starts; the
	// rename is the step that makes the session visible, and it is locked by
	// then.
	starting := filepath.Join(StateDir, "."+id)
	if err := os.Mkdir(starting, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := takeLock(starting)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(starting))
	}
	d.lock = lock
	if err := os.Rename(starting, d.path); err != nil {
		return nil, errors.Join(fmt.Errorf("publish state directory: %w", err), lock.Close(), os.RemoveAll(starting))
	}
	return d, nil
}

// lockStateDir takes the lock of all sessions: shared by those that make their
// directory, whole for what nobody else may do meanwhile. EWOULDBLOCK where it
// is taken and how says LOCK_NB.
func lockStateDir(how int) (*os.File, error) {
	all, err := os.Open(StateDir)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(all.Fd()), how); err != nil {
		all.Close()
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return all, nil
}

// errBusy says that a live supervisor holds the lock.
var errBusy = errors.New("session is alive")

func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, lockFile(f)
}

// lockFile takes the lock of f, or closes f.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errBusy
	}
	return fmt.Errorf("take lock: %w", err)
}

// save writes the state in one step: a reader sees the old or the new file.
func (d *stateDir) save(s state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	temp := filepath.Join(d.path, ".state.json")
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(d.path, "state.json")); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func loadState(dir string) (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil // died before it wrote anything down
	}
	if err != nil {
		return s, fmt.Errorf("load state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("load state: %w", err)
	}
	return s, nil
}

// Close removes the directory and lets go of the lock, in this order: a
// directory whose lock is free is one to sweep.
func (d *stateDir) Close() error {
	err := os.RemoveAll(d.path)
	d.lock.Close()
	return err
}
