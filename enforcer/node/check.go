// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
)

// check looks at every mechanism of an attachment, in the kernel and not in
// what the daemon remembers.
func (d *Daemon) check(ctx context.Context, a api.Attachment) error {
	if err := a.Validate(); err != nil {
		return refuse(api.CodeInvalid, "%w", err)
	}
	found, err := d.table.find(ctx, a.Key())
	if err != nil {
		return err
	}
	if found == nil {
		return refuse(api.CodeNotFound, "container %s has no interface %s attached", a.Container, a.Interface)
	}
	was := found.saved.Attachment
	if was.Policy != a.Policy || was.Sealed != a.Sealed {
		return refuse(api.CodeBroken, "it is attached under policy %q, sealed %t", was.Policy, was.Sealed)
	}
	s := found.session
	s.mu.Lock()
	defer d.table.leave(s)
	if err := d.checkNamespace(s, a); err != nil {
		return err
	}
	if err := d.inForce(s, a); err != nil {
		return refuse(api.CodeBroken, "%w", err)
	}
	return nil
}

// checkNamespace holds that the path still leads to the session's namespace.
func (d *Daemon) checkNamespace(s *session, a api.Attachment) error {
	ns, err := netns.Open(a.Namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	cookie, err := ns.Cookie()
	if err == nil && cookie != s.cookie {
		err = refuse(api.CodeBroken, "namespace %s is another one than was attached", a.Namespace)
	}
	return err
}

var (
	errStopped   = errors.New("the session was stopped")
	errNotServed = errors.New("the proxy does not serve the session")
)

func (d *Daemon) inForce(s *session, a api.Attachment) error {
	if !s.live || s.namespace == nil {
		return errNotServed
	}
	if err := d.programs.CheckSession(s.cookie); err != nil {
		return err
	}
	if err := d.checkLinks(s, a); err != nil {
		return err
	}
	if s.stopped {
		return errStopped
	}
	pool, err := d.keeper.current()
	if err != nil {
		return err
	}
	if s.served != pool {
		return errNotServed
	}
	return nil
}

// checkLinks looks at what lies in the namespace and around it.
func (d *Daemon) checkLinks(s *session, a api.Attachment) error {
	if s.sealed {
		named, err := s.namespace.HasName(a.Interface)
		if err == nil && !named {
			err = fmt.Errorf("interface %q is gone", a.Interface)
		}
		if err != nil {
			return err
		}
		return s.namespace.Seal(a.Interface) // changes nothing of a sealed one
	}
	uplinks, err := s.namespace.Uplinks()
	if err != nil {
		return err
	}
	for _, u := range uplinks {
		if u.HostIndex == 0 && s.unfenced {
			continue
		}
		if u.HostIndex == 0 {
			return fmt.Errorf("interface %q: %w", u.Name, errUnfenced)
		}
		if err := d.checkGuard(s, u.HostIndex); err != nil {
			return fmt.Errorf("interface %q: %w", u.Name, err)
		}
	}
	return s.namespace.CheckFence()
}
