// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a session may take to sweep after its agent was killed.
const stopGrace = 30 * time.Second

// ErrNotStopped is of a session that is still there.
var ErrNotStopped = errors.New("the session is still there")

// StopSession ends the agent of session id with SIGTERM, after timeout with
// SIGKILL, and returns when nothing of the session is left.
func StopSession(id string, timeout time.Duration) error {
	dir := filepath.Join(StateDir, id)
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("stop %q: %w", id, ErrNoSession)
	}
	defer lock.Close()
	if _, err := askSession(id, errand{Do: doStop, Timeout: timeout}); err != nil && !isGone(err) && !isEnding(err) {
		return fmt.Errorf("stop %q: %w", id, err)
	}
	// The last that a supervisor does is to let go of its lock, whatever ends it.
	free := make(chan error, 1)
	fd, err := unix.Dup(int(lock.Fd()))
	if err != nil {
		return fmt.Errorf("stop %q: %w", id, err)
	}
	go func() {
		defer unix.Close(fd)
		err := unix.Flock(fd, unix.LOCK_SH)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(fd, unix.LOCK_SH)
		}
		free <- errors.Join(err, unix.Flock(fd, unix.LOCK_UN))
	}()
	select {
	case err := <-free:
		if err == nil && hasState(id) { // it was killed
			_, err = Sweep()
		}
		return err
	case <-time.After(timeout + stopGrace):
		return fmt.Errorf("stop %q: %w", id, ErrNotStopped)
	}
}

// isEnding tells that the supervisor ended while it was asked.
func isEnding(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// stop asks the agent to end, and makes it after timeout.
func (s *Session) stop(timeout time.Duration) error {
	err := s.Signal(unix.SIGTERM)
	kill := time.AfterFunc(timeout, func() { s.Signal(unix.SIGKILL) })
	go func() {
		<-s.closing
		kill.Stop()
	}()
	return err
}
