// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startingGrace is how old an unlocked cgroup without state must be before it
// counts as left by a crash. Between mkdir and flock lie a few microseconds.
const startingGrace = time.Minute

// Swept names one dead session whose remains were removed.
type Swept struct {
	ID      string `json:"id"`
	Command string `json:"command,omitempty"`
}

// Sweep removes what dead sessions left: processes, cgroups and state. Live
// sessions, recognised by their lock, are not touched. Namespaces, BPF
// programs and links need no sweeping: the kernel frees them with the last
// process, because nothing of a session is pinned.
func Sweep() ([]Swept, error) {
	entries, err := os.ReadDir(StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	root, err := Cgroup2Root()
	if err != nil {
		return nil, err
	}
	var swept []Swept
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || isStarting(e.Name()) {
			continue
		}
		s, err := sweepSession(root, filepath.Join(StateDir, e.Name()), e.Name())
		if errors.Is(err, errBusy) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %q: %w", e.Name(), err))
			continue
		}
		swept = append(swept, s)
	}
	begun, err := sweepBegun(root, entries)
	swept, errs = append(swept, begun...), append(errs, err)
	orphans, err := sweepOrphans(root)
	return append(swept, orphans...), errors.Join(append(errs, err)...)
}

// isStarting tells the name of a directory that newStateDir has not published.
func isStarting(name string) bool { return strings.HasPrefix(name, ".") }

// sweepBegun removes the directories whose session died before they were
// published. Where a session starts at this moment it leaves them to the next
// sweep.
func sweepBegun(cgroupRoot string, entries []os.DirEntry) (swept []Swept, err error) {
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() || !isStarting(e.Name()) })
	if len(entries) == 0 {
		return nil, nil
	}
	alone, err := lockStateDir(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer alone.Close()
	var errs []error
	for _, e := range entries {
		s, err := sweepSession(cgroupRoot, filepath.Join(StateDir, e.Name()), e.Name())
		if errors.Is(err, errBusy) || errors.Is(err, fs.ErrNotExist) { // published meanwhile, or swept
			continue
		}
		swept, errs = append(swept, s), append(errs, err)
	}
	return swept, errors.Join(errs...)
}

func sweepSession(cgroupRoot, dir, name string) (Swept, error) {
	lock, err := takeLock(dir)
	if err != nil {
		return Swept{}, err
	}
	id := strings.TrimPrefix(name, ".")
	s, err := loadState(dir)
	if err != nil {
		s = state{} // a torn file must not keep the remains alive
	}
	d := stateDir{path: dir, lock: lock}
	err = errors.Join(removeCgroup(filepath.Join(cgroupRoot, cgroupParent, id)), removeLimit(id), d.Close())
	return Swept{ID: id, Command: s.Command}, err
}

// sweepOrphans removes cgroups that have no state directory here and no
// supervisor anywhere: those of a session whose state was lost with /run, or
// removed by hand.
func sweepOrphans(cgroupRoot string) ([]Swept, error) {
	parent := filepath.Join(cgroupRoot, cgroupParent)
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweep cgroups: %w", err)
	}
	var swept []Swept
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || hasState(e.Name()) || isYoung(e) {
			continue
		}
		err := sweepOrphan(filepath.Join(parent, e.Name()))
		if errors.Is(err, errBusy) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		swept = append(swept, Swept{ID: e.Name()})
	}
	return swept, errors.Join(errs...)
}

func sweepOrphan(path string) error {
	lock, err := lockCgroup(path)
	if err != nil {
		return err
	}
	defer lock.Close()
	return errors.Join(removeCgroup(path), removeLimit(filepath.Base(path)))
}

// isYoung tells whether an entry may be of a session that is just starting and
// has not taken its lock.
func isYoung(e os.DirEntry) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) < startingGrace
}

func hasState(id string) bool {
	// The starting name first: a rename goes from it to the other.
	for _, name := range []string{"." + id, id} {
		if _, err := os.Lstat(filepath.Join(StateDir, name)); err == nil {
			return true
		}
	}
	return false
}
