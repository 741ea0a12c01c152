// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumps is how often a list is asked for that changed while it was read.
const dumps = 10

// routed calls f with a handle to links and routes of the calling thread's
// namespace, and again when a list of its changed meanwhile.
//
// Nothing else opens such a socket. When bind(2) refuses it, for want of memory,
// netlink v1.3.1 closes the descriptor and leaves a cleanup that closes its
// number again, when it may be another file's: the process goes on without the
// collector then. It has little left to do, or a supervisor that starts it anew.
func routed(f func(*netlink.Handle) error) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		debug.SetGCPercent(-1)
		return fmt.Errorf("open netlink: %w", err)
	}
	defer handle.Close()
	for range dumps {
		if err = f(handle); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// routed is the same inside the namespace.
func (n *Namespace) routed(f func(*netlink.Handle) error) error {
	return n.Do(func() error { return routed(f) })
}
