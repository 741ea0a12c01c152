// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// TestShortagesAreNotKept: what a kernel lacks it lacks until another one boots; what was short is asked for again.
func TestShortagesAreNotKept(t *testing.T) {
	for want, errs := range map[bool][]error{
		true:  {unix.EINVAL, unix.EPERM, ErrNotSupported, btf.ErrNotFound},
		false: {unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.EMFILE, unix.ENFILE, unix.ENOSPC},
	} {
		for _, err := range errs {
			if got := lastsUntilBoot(fmt.Errorf("try: %w", err)); got != want {
				t.Errorf("%v lasts until the next boot: %v", err, got)
			}
		}
	}
}
