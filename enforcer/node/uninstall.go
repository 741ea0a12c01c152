// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
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
	if err := d.checkEmpty(); err != nil {
		return errors.Join(fmt.Errorf("uninstall: %w", err), d.undo.run())
	}
	err := errors.Join(d.programs.RemoveNode(), config.CDI.Write(nil), os.RemoveAll(config.Run))
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

// checkEmpty looks for attachments whose namespace is still there.
func (d *Daemon) checkEmpty() error {
	all, bad, err := d.config.loadSaved()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, err := range bad {
		return err
	}
	for _, what := range all {
		if !isGone(what) {
			return fmt.Errorf("%w: %s", ErrAttached, what.Attachment.Container)
		}
	}
	return nil
}
