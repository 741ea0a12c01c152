// SPDX-License-Identifier: Apache-2.0

package bpf

import "fmt"

// Guard fences a pod from outside, where no capability inside the pod reaches: at the host's end of its link (tcx, since
// 6.6; below, the error is [ErrNotSupported], and [Object.GuardPrograms] serves). Inbound flows are noted there; only
// what answers one, ARP and neighbour discovery come out. The link is pinned. The session must be known.
func (o *Object) Guard(cookie uint64, hostIfindex int) error {
	return fmt.Errorf("guard device %d: %w", hostIfindex, ErrNotSupported)
}

// GuardPrograms admits the device as [Object.Guard] does and returns the descriptors of the programs for it, to be
// attached as clsact filters (direct action): what comes from the pod is the device's ingress, what goes there its
// egress. They stay the object's.
func (o *Object) GuardPrograms(cookie uint64, hostIfindex int) (fromPod, toPod int, err error) {
	return -1, -1, fmt.Errorf("guard device %d: %w", hostIfindex, ErrNotSupported)
}

// Unguard takes the guards of the session's devices away. It is not an error if there is none.
func (o *Object) Unguard(cookie uint64) error { return nil }
