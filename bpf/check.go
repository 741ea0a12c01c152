// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// CheckSession says whether a session is in force: its entry is there, and every hook hangs where it was attached, with
// this object's program.
func (o *Object) CheckSession(cookie uint64) error {
	key, err := o.key(cookie)
	if err != nil {
		return fmt.Errorf("check session: %w", err)
	}
	var session redirectSession
	if err := o.objects.Sessions.Lookup(key, &session); err != nil {
		return fmt.Errorf("check session %d: %w", cookie, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	hooks := o.hooks()
	if len(o.links) < len(hooks) {
		return fmt.Errorf("check session %d: %d hooks of %d are attached", cookie, len(o.links), len(hooks))
	}
	for i, l := range o.links {
		if hook := hooks[i%len(hooks)]; !runs(l, hook.program) {
			return fmt.Errorf("check session %d: %s is not attached", cookie, hook.name)
		}
	}
	return nil
}

// runs says whether a link is attached, and to this program.
func runs(l link.Link, program *ebpf.Program) bool {
	info, err := l.Info()
	if err != nil {
		return false
	}
	if at := info.Cgroup(); at != nil && at.CgroupId == 0 { // the cgroup is gone
		return false
	}
	has, err := program.Info()
	if err != nil {
		return false
	}
	id, ok := has.ID()
	return ok && id == info.Program
}

// CheckGuard says whether a device is guarded for the session, both ways. Where clsact filters serve it knows only that
// the programs were told of the device: the filters are for who attached them to look at.
func (o *Object) CheckGuard(cookie uint64, hostIfindex int) error {
	if err := o.checkGuard(cookie, uint32(hostIfindex)); err != nil {
		return fmt.Errorf("check guard of device %d of session %d: %w", hostIfindex, cookie, err)
	}
	return nil
}

func (o *Object) checkGuard(cookie uint64, ifindex uint32) error {
	if o.node == nil {
		return errors.New("the object is no node's")
	}
	var g fenceGuard
	if err := o.fence.Guards.Lookup(ifindex, &g); err != nil {
		return err
	}
	if g.Netns != cookie {
		return fmt.Errorf("it is guarded for session %d", g.Netns)
	}
	if errors.Is(check(fenceFeatures), ErrNotSupported) {
		return nil
	}
	for _, side := range o.sides() {
		if err := o.checkSide(guard{cookie, ifindex, side.name}, side); err != nil {
			return fmt.Errorf("%s: %w", side.attach, err)
		}
	}
	return nil
}

func (o *Object) checkSide(g guard, side side) error {
	l, err := link.LoadPinnedLink(o.node.guardPath(g), nil)
	if err != nil {
		return err
	}
	defer l.Close()
	ifindex, err := deviceOf(l)
	if err != nil {
		return err
	}
	if ifindex != g.ifindex {
		return errors.New("the device is gone")
	}
	if !runs(l, side.program) {
		return errors.New("another program is attached")
	}
	return nil
}
