// SPDX-License-Identifier: Apache-2.0

package fence

import "golang.org/x/sys/unix"

// Arch is the one architecture whose calls a filter lets through.
const Arch = unix.AUDIT_ARCH_X86_64
