// SPDX-License-Identifier: Apache-2.0

package sandbox

import "golang.org/x/sys/unix"

// nativeCalls are refused too: what is left of older days.
var nativeCalls = []uint32{unix.SYS_LOOKUP_DCOOKIE}
