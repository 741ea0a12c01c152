// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepDescriptors keeps what the caller left open, a socket of the host's or
// make's jobserver, from every process of the session's: what each needs it is
// given.
func keepDescriptors() error {
	const first = 3
	err := unix.CloseRange(first, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("keep descriptors: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd") // 5.10 has no CLOSE_RANGE_CLOEXEC (5.11)
	if err != nil {
		return fmt.Errorf("keep descriptors: %w", err)
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
