// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// ErrAttached is what Uninstall answers while containers are attached.
var ErrAttached = errors.New("containers are attached")

// Uninstall takes away what a daemon leaves behind on purpose: hooks and pins,
// the runtime directory, and the devices of its policies. It is for a node
// whose daemon is not running and to which nothing is attached any more; the
// seed and what is known of policies stay, for containers that still carry
// placeholders.
func Uninstall(config Config) error {
	config = config.withDefaults()
	d := &Daemon{config: config, log: config.Logger}
	if err := d.openKernel(); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	gone, err := d.gone()
	if err == nil {
		err = d.releaseAll(gone)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("uninstall: %w", err), d.undo.run())
	}
	err = errors.Join(d.programs.RemoveNode(), config.CDI.Write(nil), os.RemoveAll(config.Run))
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

// gone returns what is written down of attachments, none of which has its
// namespace any more.
func (d *Daemon) gone() ([]saved, error) {
	all, bad, err := d.config.loadSaved()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, err := range bad {
		return nil, err
	}
	for _, what := range all {
		if !isGone(what) {
			return nil, fmt.Errorf("%w: %s", ErrAttached, what.Attachment.Container)
		}
	}
	return all, nil
}

// releaseAll lets every namespace go that the kernel still holds, links first,
// whether or not it is written down.
func (d *Daemon) releaseAll(gone []saved) error {
	cookies, err := d.programs.Sessions()
	errs := []error{err}
	for _, cookie := range cookies {
		parts := slices.DeleteFunc(slices.Clone(gone), func(what saved) bool { return what.Cookie != cookie })
		errs = append(errs, d.release(cookie, parts))
	}
	return errors.Join(errs...)
}
