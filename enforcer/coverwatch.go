// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// ErrUncovered ends a session whose policy has `strict: {key_at_rest: refuse}`.
var ErrUncovered = errors.New("it is no longer covered")

// A copy that stands over a file of the host, and not in the home's overlay, is
// a mount, and so is the nothing over what is hidden. When a program outside puts
// another file in the place of the covered one, the kernel takes the mount away
// (detach_mounts, in every namespace but the caller's), and the agent sees the
// new file. It cannot do so itself: to those who see the mount the same rename is
// EBUSY. So whatever happens to such a name was done outside.
//
// A folder above it takes the mount along when it is moved, and what comes to
// stand at its name is uncovered. Where the agent writes for real, it can move
// such a folder itself, and wait for a program outside to make the file anew.
//
// coverWatch looks for both.
type coverWatch struct {
	events  *os.File
	names   map[uint32][]string // that lead to covered files, by inotify's number of the folder they are in
	covered []watched
	tell    func(path string)
}

// watched is a covered file or folder, until it was told.
type watched struct {
	path string
	was  unix.Stat_t
}

// uncovers are the events that part a name from its file.
const uncovers = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE

// watchCovers begins before the copies are mounted.
func (s *Session) watchCovers(spec *policy.Session, covered []string) error {
	if len(covered) == 0 {
		return nil
	}
	home, real := withoutLinks(s.config.User.Home), s.realPaths(s.around.state)
	mounted := slices.DeleteFunc(slices.Clone(covered), func(path string) bool { // in the overlay all is the session's own
		return spec.Filesystem.Home != sandbox.HomeReadOnly && isBelow(path, []string{home}) && !isBelow(path, real)
	})
	if len(mounted) == 0 {
		return nil
	}
	w, err := newCoverWatch(mounted)
	if err != nil {
		if s.strict {
			return err
		}
		s.config.Notify(fmt.Sprintf("%v: nobody is told when another program replaces one", err))
		return nil
	}
	w.tell = s.tellUncovered
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	s.undo.push(func() error {
		stopped := w.events.SetReadDeadline(time.Now())
		<-ended
		w.rest()
		return errors.Join(s.lateUncovered(), stopped, w.events.Close())
	})
	return nil
}

// tellUncovered says that a copy may cover its file no more. Where the policy
// allows no credential at rest, the session ends: first, as a full log waits.
func (s *Session) tellUncovered(path string) {
	if s.strict {
		select {
		case s.uncovered <- fmt.Errorf("%q, or a folder above it, was moved or replaced: %w", path, ErrUncovered):
		default: // it ends already
		}
	} else {
		s.config.Notify(fmt.Sprintf("%q, or a folder above it, was moved or replaced, and the agent sees what stands there now; end the session, or keep other programs from writing it", path))
	}
	if err := s.trail.Record(s.atRestRecord("", path)); err != nil {
		s.config.Logger.Error("write audit record", "path", path, "error", err)
	}
}

// lateUncovered is what nobody waited for any more, as the agent had ended.
func (s *Session) lateUncovered() error {
	select {
	case err := <-s.uncovered:
		return err
	default:
		return nil
	}
}

// newCoverWatch watches the folders of what is covered, and those above them.
func newCoverWatch(covered []string) (*coverWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch covered files: %w", err)
	}
	w := &coverWatch{events: os.NewFile(uintptr(fd), "inotify"), names: make(map[uint32][]string)}
	for _, path := range covered {
		if err := w.add(fd, path); err != nil {
			return nil, errors.Join(fmt.Errorf("watch covered files: %w", err), w.events.Close())
		}
	}
	return w, nil
}

func (w *coverWatch) add(fd int, path string) error {
	for name, in := path, filepath.Dir(path); name != in; name, in = in, filepath.Dir(in) {
		number, err := unix.InotifyAddWatch(fd, in, uncovers|unix.IN_ONLYDIR)
		if err != nil {
			return fmt.Errorf("%q: %w", in, err)
		}
		if known := w.names[uint32(number)]; !slices.Contains(known, name) {
			w.names[uint32(number)] = append(known, name)
		}
	}
	one := watched{path: path}
	if err := unix.Lstat(path, &one.was); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	w.covered = append(w.covered, one)
	return nil
}

// run reads events until the watch is closed.
func (w *coverWatch) run() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.events.Read(buffer)
		if err != nil {
			return
		}
		w.take(buffer[:n])
	}
}

// rest takes what has happened and was not read before the session ended.
func (w *coverWatch) rest() {
	fd, err := Descriptor(w.events)
	buffer := make([]byte, 64<<10)
	for err == nil {
		var n int
		if n, err = unix.Read(fd, buffer); err == nil {
			w.take(buffer[:n])
		}
	}
}

// take looks through events as inotify(7) lays them out.
func (w *coverWatch) take(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		number, mask := binary.NativeEndian.Uint32(events), binary.NativeEndian.Uint32(events[4:])
		end := min(len(events), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:])))
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
		events = events[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			w.lookAgain()
			continue
		}
		for _, place := range w.names[number] {
			if filepath.Base(place) == string(name) {
				w.told(func(one watched) bool { return isBelow(one.path, []string{place}) })
			}
		}
	}
}

// lookAgain serves where events were lost: an agent can make any number of them.
func (w *coverWatch) lookAgain() {
	w.told(func(one watched) bool {
		var is unix.Stat_t
		err := unix.Lstat(one.path, &is)
		return err != nil || is.Dev != one.was.Dev || is.Ino != one.was.Ino
	})
}

// told tells of those that are concerned, each once.
func (w *coverWatch) told(concerned func(watched) bool) {
	w.covered = slices.DeleteFunc(w.covered, func(one watched) bool {
		if !concerned(one) {
			return false
		}
		w.tell(one.path)
		return true
	})
}
