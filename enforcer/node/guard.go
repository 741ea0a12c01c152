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

// letGo takes away what holds a namespace, once its links are stopped: what may
// still live inside gets no moment with one.
func (d *Daemon) letGo(s *session) error {
	if err := d.stopLinks(s); err != nil {
		return err
	}
	errs := []error{d.programs.Unguard(s.cookie)}
	for _, link := range s.hostLinks() {
		errs = append(errs, netns.DetachClsact(link.Index))
	}
	switch {
	case s.namespace == nil:
	case s.sealed:
		errs = append(errs, s.namespace.RemoveInterface())
	default:
		errs = append(errs, s.namespace.Unfence())
	}
	return errors.Join(append(errs, d.programs.RemoveSession(s.cookie))...)
}

// stopLinks stops all links of a session.
func (d *Daemon) stopLinks(s *session) error {
	inside, err := d.unwritten(s)
	if err != nil {
		return err
	}
	return s.cut(append(inside, s.uplinks...))
}

// unwritten lists the links of a namespace that has some without an end on the
// host: those are written down nowhere.
func (d *Daemon) unwritten(s *session) ([]netns.Uplink, error) {
	if !s.unfenced {
		return nil, nil
	}
	if s.namespace == nil {
		ns, err := reopen(d.table.parts(s.cookie))
		if errors.Is(err, errGone) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.namespace = ns
	}
	return s.namespace.Uplinks()
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
