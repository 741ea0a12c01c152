// SPDX-License-Identifier: Apache-2.0

package node

import "errors"

// undo is a stack: each step pushes what takes it back.
type undo []func() error

func (u *undo) push(step func() error) { *u = append(*u, step) }

// run takes everything back, the last first, each exactly once.
func (u *undo) run() error {
	var errs []error
	for len(*u) > 0 {
		last := len(*u) - 1
		step := (*u)[last]
		*u = (*u)[:last]
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}
