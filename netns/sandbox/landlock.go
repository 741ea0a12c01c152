// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// A second opinion on what the mounts say, where the kernel has Landlock: the
// agent writes where a mount of the session's is writable, and nowhere else.
// Unlike a read-only mount that includes FIFOs, and from ABI 9 the sockets of
// others. From ABI 6 signals and abstract sockets end at the agent too.
//
// Without Landlock, and before 5.19, the mounts and namespaces stand alone
// (docs/KERNEL.md).

// prepareRules makes the rules while init may still open everything. Where the
// agent may write they say after the last mount: grantWrites.
func (p *pid1) prepareRules(v *view) (err error) {
	rights := fence.Write | fence.Connect
	if p.body.Spec.permits(PermitNestedSandbox) {
		rights = 0 // who has rules for files may mount nothing (landlock(7))
	}
	p.rules, err = fence.NewRuleset(rights, fence.Scopes)
	if errors.Is(err, fence.ErrNoLandlock) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range v.expose {
		if err := p.rules.Grant(s.fd, fence.Connect); err != nil {
			return fmt.Errorf("expose %q: %w", s.path, err)
		}
	}
	return nil
}

// grantWrites lets the agent write where the session's mounts let it.
func (p *pid1) grantWrites() error {
	if p.rules == nil {
		return nil
	}
	points, err := mountinfo.Read()
	if err != nil {
		return err
	}
	for _, m := range points {
		if m.Flags&unix.MS_RDONLY != 0 || !p.own.own[m.Device] && !p.own.binds[m.ID] {
			continue
		}
		fd, reached, err := reach(m)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && !reached {
			continue
		}
		if err == nil {
			err = errors.Join(p.rules.Grant(fd, fence.Write), unix.Close(fd))
		}
		if err != nil {
			return fmt.Errorf("let agent write %q: %w", m.Path, err)
		}
	}
	return nil
}

// landlock puts the rules on this thread, which will start the agent.
func (p *pid1) landlock() error {
	if p.rules == nil {
		return nil
	}
	return errors.Join(p.rules.Restrict(), p.rules.Close())
}
