// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
)

// look notes how a namespace is linked, before its container begins. Every
// address that it has then is its own, and those that the runtime says.
func (s *session) look(said []netip.Prefix) error {
	uplinks, err := s.namespace.Uplinks()
	if err != nil {
		return err
	}
	if len(uplinks) == 0 {
		return errNoUplink
	}
	s.takeUplinks(uplinks, plain(append(slices.Clone(said), addresses(uplinks)...)))
	return checkUplinks(uplinks, s.unfenced)
}

// checkUplinks refuses what could not be held.
func checkUplinks(uplinks []netns.Uplink, unfenced bool) error {
	for _, u := range uplinks {
		if u.HostIndex == 0 && !unfenced {
			return fmt.Errorf("interface %q, a %s: %w", u.Name, u.Kind, errUnfenced)
		}
	}
	return nil
}

// takeUplinks adds links, and addresses that packets of the container may come
// from.
func (s *session) takeUplinks(uplinks []netns.Uplink, own []netip.Addr) {
	s.uplinks = append(slices.Clone(s.uplinks), uplinks...)
	s.own = slices.Clone(s.own)
	for _, a := range own {
		if !slices.Contains(s.own, a) {
			s.own = append(s.own, a)
		}
	}
}

// plain is addresses without their networks.
func plain(prefixes []netip.Prefix) (all []netip.Addr) {
	for _, p := range prefixes {
		all = append(all, p.Addr().Unmap())
	}
	return all
}

func addresses(uplinks []netns.Uplink) (all []netip.Prefix) {
	for _, u := range uplinks {
		all = append(all, u.Addresses...)
	}
	return all
}

// join adds an interface to the session that the namespace has. One that is
// refused is stopped: its container may run already (podman network connect).
func (d *Daemon) join(s *session, a api.Attachment, p *nodePolicy, back *undo) error {
	if s.namespace == nil { // not found by the daemon after a restart
		return refuse(api.CodeBroken, "%w", errNotServed)
	}
	uplinks, err := s.namespace.Uplinks()
	if err != nil {
		return err
	}
	added := s.unknown(uplinks, a.Interface)
	back.push(func() error { return s.cut(added) })
	switch {
	case s.policy != a.Policy || s.sealed != a.Sealed || s.stopped:
		return errForeignPolicy
	case s.listeners == nil: // never taken over
		return refuse(api.CodeBroken, "%w", errNotServed)
	case s.sealed:
		if err := s.namespace.AddName(a.Interface); err != nil {
			return err
		}
		back.push(func() error { return s.namespace.RemoveName(a.Interface) })
		return nil
	}
	return d.widen(s, a, p, added, back)
}

// unknown lists the links that the session does not hold. Root inside makes
// links of its own, which lead nowhere: of those without an end on the host
// only the one that is asked about counts, and none where it is sealed. It gives
// them numbers, too: what has an end on the host is known by that one's.
func (s *session) unknown(uplinks []netns.Uplink, asked string) []netns.Uplink {
	return slices.DeleteFunc(slices.Clone(uplinks), func(u netns.Uplink) bool {
		return u.HostIndex == 0 && (s.sealed || u.Name != asked) || slices.ContainsFunc(s.uplinks, func(known netns.Uplink) bool {
			return known.HostIndex == u.HostIndex && (u.HostIndex != 0 || known.Index == u.Index)
		})
	})
}

// widen holds links that the container got beside those that it has. By now root
// inside may have taken any address: where the runtime says which are its own,
// no other is. Taken back, their guards stay.
func (d *Daemon) widen(s *session, a api.Attachment, p *nodePolicy, added []netns.Uplink, back *undo) error {
	if s.unfenced && !a.Unfenced { // the stricter of both counts
		return errUnfenced
	}
	if err := checkUplinks(added, s.unfenced); err != nil {
		return err
	}
	own := a.Addresses
	if len(own) == 0 {
		own = addresses(added)
	}
	tell := func() error { return d.programs.SetSession(s.cookie, s.entry(p.rules.Declared())) }
	uplinks, before := s.uplinks, s.own
	back.push(func() error {
		s.uplinks, s.own = uplinks, before
		return tell()
	})
	s.takeUplinks(added, plain(own))
	if err := tell(); err != nil {
		return err
	}
	return d.guard(s, added)
}
