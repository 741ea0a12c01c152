// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// checkRings refuses to permit io_uring where a ring could make a socket to the
// hypervisor or another virtual machine: the filter does not see it, and the
// hooks of cgroups are asked about IP alone. It asks the kernel, before the
// filter is there.
func (p *pid1) checkRings() error {
	if !p.body.Spec.permits(PermitIOUring) {
		return nil
	}
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fd, err := unix.Socket(unix.AF_VSOCK, kind|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return fmt.Errorf("permit io_uring, by which AF_VSOCK is open: %w", unix.EPERM)
		}
	}
	return nil
}
