// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// changes are all ways in which a directory's files come to say something else.
const changes = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE

// errGone is the end of the directory itself.
var errGone = errors.New("the directory was removed, or another put in its place")

// Watch installs, and keeps what is installed as the network and the entry are,
// until ctx ends; that is no error and takes nothing away. A node that has no
// network yet is waited for. installed is called each time everything is in
// place.
func Watch(ctx context.Context, c Config, installed func()) error {
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
	buffer := make([]byte, 64<<10)
	for {
		c.tell(Install(c), installed)
		n, err := events.Read(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && gone(buffer[:n]) {
			err = errGone
		}
		if err != nil {
			return fmt.Errorf("watch networks: %w", err)
		}
	}
}

func (c *Config) tell(err error, installed func()) {
	if err != nil {
		c.Logger.Error("what is installed stays", "error", err)
		return
	}
	installed()
}

// gone looks for the end of a watch among events (inotify(7)).
func gone(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		if mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
			return true
		}
		events = events[min(len(events), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:]))):]
	}
	return false
}
