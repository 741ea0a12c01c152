// SPDX-License-Identifier: Apache-2.0

package enforcer

import "errors"

// closers is the undo stack of a session: every setup step pushes its undo,
// and Close runs them in reverse, each exactly once, whatever the others
// return.
type closers []func() error

func (c *closers) push(undo func() error) { *c = append(*c, undo) }

// Close runs the stack in reverse and joins what went wrong.
func (c *closers) Close() error {
	var errs []error
	for len(*c) > 0 {
		last := len(*c) - 1
		undo := (*c)[last]
		*c = (*c)[:last]
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}
