// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// raiseMemlock lifts the supervisor's limit of locked memory, which the proxy
// inherits, and returns what it was, for the agent. A container's root may not
// lift it; whether that matters is lockMemory's to decide.
func raiseMemlock() (*unix.Rlimit, error) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		return nil, fmt.Errorf("read memory lock limit: %w", err)
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil && !errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("lift memory lock limit: %w", err)
	}
	return &before, nil
}

// mclOnFault is MCL_ONFAULT of Linux 4.4, on the architectures that use the
// generic value.
const mclOnFault = 4

// ErrMemoryLock is returned where the proxy's memory could reach a swap device.
var ErrMemoryLock = errors.New("memory cannot be locked and swap is on")

// lockMemory keeps every page of the proxy from the swap device from the
// moment it is touched, and touches none: Go reserves far more than it uses.
// Where the limit does not allow it, a machine without swap is as good. The
// credentials themselves have pages of their own that are always locked
// (package secret); this is for what they are copied into on their way out.
func lockMemory() error {
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | mclOnFault)
	if err == nil {
		return nil
	}
	swaps, readErr := os.ReadFile("/proc/swaps")
	if readErr != nil {
		return fmt.Errorf("lock memory: %w", errors.Join(err, readErr))
	}
	// The first line is the heading.
	if bytes.Count(bytes.TrimSpace(swaps), []byte("\n")) > 0 {
		return fmt.Errorf("lock memory: %w: %w", ErrMemoryLock, err)
	}
	return nil
}
