// SPDX-License-Identifier: Apache-2.0

package members

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// groupsLimit is the most supplementary groups that a process can have
// (NGROUPS_MAX, linux/limits.h).
const groupsLimit = 65536

// peerGroups are the supplementary groups of the process that connected
// (SO_PEERGROUPS, Linux 4.13; x/sys has no wrapper).
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == unix.ERANGE && len(groups) < groupsLimit {
			groups = make([]uint32, groupsLimit)
			continue
		}
		if errno != 0 {
			return nil, errno
		}
		return groups[:size/4], nil
	}
}
