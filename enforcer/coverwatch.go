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
var ErrUncovered = errors.New("the copy that the agent sees no longer covers it")

// A copy that stands over a file of the host, and not in the home's overlay, is
// a mount. When a program outside puts another file in the place of the covered
// one, the kernel takes the mount away (detach_mounts, in every namespace but
// the caller's), and the agent sees the new file. It cannot do so itself: to
// those who see the mount the same rename is EBUSY. So whatever happens to such
// a name was done outside.
//
// coverWatch looks for that.
type coverWatch struct {
	events *os.File
	names  map[uint32][]watched // by inotify's number of the folder
	tell   func(path string)
}

// watched is a covered name, until it was told.
type watched struct {
	path string
	was  unix.Stat_t
}

// uncovers are the events that part a name from its file.
const uncovers = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE

// watchCovers begins before the copies are mounted.
func (s *Session) watchCovers(spec *policy.Session, covers []sandbox.Cover) error {
	if len(covers) == 0 {
		return nil
	}
	home, real, exposed := withoutLinks(s.config.User.Home), s.realPaths(s.around.state), s.absolute(spec.Filesystem.Expose)
	mounted := slices.DeleteFunc(slices.Clone(covers), func(c sandbox.Cover) bool {
		overlaid := spec.Filesystem.Home != sandbox.HomeReadOnly && isBelow(c.Path, []string{home}) && !isBelow(c.Path, real)
		return overlaid || isBelow(c.Path, exposed) // in the overlay a copy is a file of the session's
	})
	if len(mounted) == 0 {
		return nil
	}
	strict := s.config.Policy != nil && s.config.Policy.KeyAtRest == "refuse"
	w, err := newCoverWatch(mounted)
	if err != nil {
		if strict {
			return err
		}
		s.config.Notify(fmt.Sprintf("%v: nobody is told when another program replaces a masked file", err))
		return nil
	}
	w.tell = func(path string) {
		if strict {
			select {
			case s.uncovered <- fmt.Errorf("%q was replaced from outside: %w", path, ErrUncovered):
			default: // it ends already
			}
			return
		}
		s.config.Notify(fmt.Sprintf("%q was replaced from outside, and the agent sees what is in it now; end the session, or keep other programs from writing it", path))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	s.undo.push(func() error {
		stopped := w.events.SetReadDeadline(time.Now())
		<-ended
		w.rest()
		return errors.Join(stopped, w.events.Close())
	})
	return nil
}

// newCoverWatch watches the folders of the covered files.
func newCoverWatch(covers []sandbox.Cover) (*coverWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch masked files: %w", err)
	}
	w := &coverWatch{events: os.NewFile(uintptr(fd), "inotify"), names: make(map[uint32][]watched)}
	for _, c := range covers {
		number, err := unix.InotifyAddWatch(fd, filepath.Dir(c.Path), uncovers|unix.IN_ONLYDIR)
		if err != nil {
			w.events.Close()
			return nil, fmt.Errorf("watch masked files: %q: %w", filepath.Dir(c.Path), err)
		}
		one := watched{path: c.Path}
		if err := unix.Lstat(c.Path, &one.was); err != nil {
			w.events.Close()
			return nil, fmt.Errorf("watch masked files: %q: %w", c.Path, err)
		}
		w.names[uint32(number)] = append(w.names[uint32(number)], one)
	}
	return w, nil
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
		w.told(number, func(one watched) bool { return filepath.Base(one.path) == string(name) })
	}
}

// lookAgain serves where events were lost: an agent can make any number of them.
func (w *coverWatch) lookAgain() {
	for number := range w.names {
		w.told(number, func(one watched) bool {
			var is unix.Stat_t
			err := unix.Lstat(one.path, &is)
			return err != nil || is.Dev != one.was.Dev || is.Ino != one.was.Ino
		})
	}
}

// told tells of those that are concerned, each once.
func (w *coverWatch) told(number uint32, concerned func(watched) bool) {
	w.names[number] = slices.DeleteFunc(w.names[number], func(one watched) bool {
		if !concerned(one) {
			return false
		}
		w.tell(one.path)
		return true
	})
}
