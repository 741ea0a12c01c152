// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The oldest kernel on which the proofs run (docs/KERNEL.md).
const floorMajor, floorMinor = 5, 10

// ErrKernelFloor is returned on kernels older than the floor.
var ErrKernelFloor = errors.New("kernel is too old")

// Kernel returns the release of the kernel, and [ErrKernelFloor] below the
// floor. It is asked before any feature is tried: one that happens to load there
// was never proved.
func Kernel() (release string, err error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("check kernel: %w", err)
	}
	release = unix.ByteSliceToString(uts.Release[:])
	return release, checkRelease(release)
}

func checkRelease(release string) error {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("check kernel: release %q: %w", release, err)
	}
	if major < floorMajor || major == floorMajor && minor < floorMinor {
		return fmt.Errorf("check kernel: release %q is below %d.%d: %w", release, floorMajor, floorMinor, ErrKernelFloor)
	}
	return nil
}
