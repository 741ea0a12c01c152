// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// changes are all ways in which a directory's files come to say something else.
const changes = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE

// errGone is the end of the directory itself.
var errGone = errors.New("the directory was removed, or another put in its place")

// retry is how long what could not be installed waits, where nothing changes
// before: a full disk says nothing when it has room again.
const retry = 10 * time.Second

// Watch installs, and keeps what is installed as the network and the entry are,
// until ctx ends; that is no error and takes nothing away. A node that has no
// network yet is waited for. installed is called each time everything is in
// place.
func Watch(ctx context.Context, c Config, installed func()) error {
	return watch(ctx, c, retry, installed)
}

func watch(ctx context.Context, c Config, retry time.Duration, installed func()) error {
	if err := os.MkdirAll(c.networks(), 0o755); err != nil {
		return fmt.Errorf("watch networks: %w", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch networks: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	// The directory of the entry: a mounted ConfigMap changes by a rename in it.
	for _, dir := range []string{c.networks(), filepath.Dir(c.Entry)} {
		if _, err := unix.InotifyAddWatch(fd, dir, changes|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	for {
		var again time.Time
		if err := Install(c); err != nil {
			c.Logger.Error("what is installed stays", "error", err)
			again = time.Now().Add(retry)
		} else {
			installed()
		}
		if err := awaitChange(events, again); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch networks: %w", err)
		}
	}
}

// awaitChange returns when somebody else has changed a directory, or at the
// time again.
func awaitChange(events *os.File, again time.Time) error {
	if err := events.SetReadDeadline(again); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := events.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if others, err := changed(buffer[:n]); others || err != nil {
			return err
		}
	}
}

// changed looks among events (inotify(7)) for one that is not of a file that we
// were about to put in place, and for the end of a directory.
func changed(events []byte) (bool, error) {
	others := false
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		if mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
			return true, errGone
		}
		end := min(len(events), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:])))
		others = others || !strings.HasPrefix(string(events[unix.SizeofInotifyEvent:end]), unfinished)
		events = events[end:]
	}
	return others, nil
}
