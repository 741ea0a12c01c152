// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns"
)

// fence is for a namespace that keeps its interfaces: a filter inside, which
// answers fast, and guards outside, which no capability of the container's
// reaches.
func (d *Daemon) fence(s *session) error {
	if err := s.namespace.Fence(); err != nil {
		return err
	}
	s.undo.push(s.namespace.Unfence)
	s.undo.push(func() error { return d.unguard(s) })
	return d.guard(s, s.uplinks)
}

// guard fences the hosts' ends of links, by tcx where the kernel has it, else
// by clsact.
func (d *Daemon) guard(s *session, uplinks []netns.Uplink) error {
	for _, u := range uplinks {
		if u.HostIndex == 0 {
			continue // accepted, see checkUplinks
		}
		err := d.programs.Guard(s.cookie, u.HostIndex, u.Hardware)
		if errors.Is(err, bpf.ErrNotSupported) {
			s.clsact = true
			var fromPod, toPod int
			if fromPod, toPod, err = d.programs.GuardPrograms(s.cookie, u.HostIndex, u.Hardware); err == nil {
				err = netns.AttachClsact(u.HostIndex, fromPod, toPod)
			}
		}
		if err != nil {
			return fmt.Errorf("interface %q, link %d of the host: %w", u.Name, u.HostIndex, err)
		}
	}
	return nil
}

// unguard takes guards away, the links first: what may still live inside gets no
// moment without one.
func (d *Daemon) unguard(s *session) error {
	uplinks := s.uplinks
	if s.unfenced && s.namespace != nil { // those without a host's end are written down nowhere
		inside, err := s.namespace.Uplinks()
		if err != nil {
			return err
		}
		uplinks = append(inside, uplinks...)
	}
	if err := s.cut(uplinks); err != nil {
		return err
	}
	errs := []error{d.programs.Unguard(s.cookie)}
	for _, link := range s.hostLinks() {
		errs = append(errs, netns.DetachClsact(link.Index))
	}
	return errors.Join(errs...)
}

// cut stops links, at the host's end, out of the container's reach; inside,
// where there is none.
func (s *session) cut(uplinks []netns.Uplink) error {
	var errs []error
	for _, u := range uplinks {
		switch {
		case u.HostIndex != 0:
			errs = append(errs, netns.SetDown(u.HostIndex))
		case s.namespace != nil:
			errs = append(errs, s.namespace.Do(func() error { return netns.SetDown(u.Index) }))
		}
	}
	return errors.Join(errs...)
}

func setDown(links []int) error {
	var errs []error
	for _, link := range links {
		errs = append(errs, netns.SetDown(link))
	}
	return errors.Join(errs...)
}

// checkGuard looks at the fence of one link's end on the host.
func (d *Daemon) checkGuard(s *session, hostIndex int) error {
	err := d.programs.CheckGuard(s.cookie, hostIndex)
	if err == nil && s.clsact {
		err = netns.CheckClsact(hostIndex)
	}
	return err
}
