// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// sessionsAtATime bounds how many sessions are taken over side by side.
const sessionsAtATime = 8

// recover takes over what a daemon before had: sessions whose namespace is
// still there go on, with every mechanism put in force again; of the others,
// and of those that were half made, the remains are removed.
func (d *Daemon) recover() error {
	all, bad, err := d.config.loadSaved()
	if err != nil {
		return err
	}
	for path, err := range bad {
		// Its namespace stays refused: nobody serves it, and its entry is kept below.
		d.log.Error("an attachment cannot be taken over", "file", path, "error", err)
		d.problems.add(err.Error())
	}
	sessions := map[uint64][]saved{}
	for _, what := range all {
		sessions[what.Cookie] = append(sessions[what.Cookie], what)
	}
	var wait sync.WaitGroup
	turns := make(chan struct{}, sessionsAtATime)
	for _, parts := range sessions {
		turns <- struct{}{}
		wait.Go(func() {
			d.recoverSession(parts)
			<-turns
		})
	}
	wait.Wait()
	d.closeUnclaimed()
	if len(bad) > 0 {
		return nil
	}
	return d.removeStrays(sessions)
}

// removeStrays takes entries out of the kernel that no attachment has: what
// was being made when the daemon died was never answered.
func (d *Daemon) removeStrays(known map[uint64][]saved) error {
	cookies, err := d.programs.Sessions()
	if err != nil {
		return err
	}
	var errs []error
	for _, cookie := range cookies {
		if _, ok := known[cookie]; !ok {
			errs = append(errs, d.programs.Unguard(cookie), d.programs.RemoveSession(cookie))
		}
	}
	return errors.Join(errs...)
}

// closeUnclaimed lets go of listeners that were kept for sessions that are gone.
func (d *Daemon) closeUnclaimed() {
	for cookie, l := range d.inherited.listeners {
		d.tell(d.manager.Forget(storeName(cookie)))
		l.Close()
	}
	clear(d.inherited.listeners)
}

// claim returns the listeners that were kept for a session.
func (d *Daemon) claim(cookie uint64) *sandbox.Listeners {
	d.claiming.Lock()
	defer d.claiming.Unlock()
	l := d.inherited.listeners[cookie]
	delete(d.inherited.listeners, cookie)
	return l
}

func (d *Daemon) recoverSession(parts []saved) {
	cookie := parts[0].Cookie
	kept := d.claim(cookie)
	s := d.table.enter(cookie)
	defer d.table.leave(s)
	ns := d.reopen(parts)
	if ns == nil {
		d.dropGone(parts, kept)
		return
	}
	s.namespace = ns
	s.undo.push(ns.Close)
	s.undo.push(func() error { return d.programs.RemoveSession(cookie) })
	s.undo.push(func() error { return d.unguard(s) })
	if err := d.takeOver(s, parts, kept); err != nil {
		// In the kernel it stays as it is: refused.
		d.log.Error("a session is not served", "session", s.id, "container", parts[0].Attachment.Container, "error", err)
	}
	s.live = true
	for _, what := range parts {
		d.claimKey(s, what)
	}
}

// claimKey enters an attachment into the table, and into its file that it is
// another daemon's now.
func (d *Daemon) claimKey(s *session, was saved) {
	key := was.Attachment.Key()
	what := s.saved(was.Attachment)
	if err := d.config.save(what); err != nil {
		d.log.Error("write attachment down", "error", err)
	}
	if reserved := d.table.reserve(key); reserved != nil {
		d.table.settle(key, reserved, s, what)
	}
	if !slices.Contains(s.keys, key) {
		s.keys = append(s.keys, key)
	}
}

// reopen finds the namespace by the path of any of its attachments; nil: it is
// gone. What keeps us from looking is no proof of that, but nothing can be done
// about such a namespace either.
func (d *Daemon) reopen(parts []saved) *netns.Namespace {
	for _, what := range parts {
		ns, err := netns.Open(what.Attachment.Namespace)
		if err != nil {
			d.log.Info("namespace of an attachment", "error", err)
			continue
		}
		if cookie, err := ns.Cookie(); err == nil && cookie == what.Cookie {
			return ns
		}
		ns.Close()
	}
	return nil
}

// dropGone removes what is left of a session whose namespace is gone, or at least
// its path: as in unguard, the host's ends of its links go down before what holds
// a process that may still live inside.
func (d *Daemon) dropGone(parts []saved, kept *sandbox.Listeners) {
	cookie := parts[0].Cookie
	d.tell(d.manager.Forget(storeName(cookie)))
	var errs []error
	for _, what := range parts {
		for _, link := range what.HostLinks {
			errs = append(errs, netns.SetDown(link))
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.log.Error("a session's links stay, and so does what holds them", "container", parts[0].Attachment.Container, "error", err)
		return
	}
	errs = append(errs, d.programs.Unguard(cookie), d.programs.RemoveSession(cookie))
	if kept != nil {
		errs = append(errs, kept.Close())
	}
	for _, what := range parts {
		errs = append(errs, d.config.unsave(what.Attachment.Key()))
		d.log.Info("gone while the daemon was away", "container", what.Attachment.Container, "session", what.Session)
	}
	if err := errors.Join(errs...); err != nil {
		d.log.Warn("remove what is left of a session", "error", err)
	}
}

// takeOver puts everything of a session in force again, under what its policy
// says now. What is in force is only ever replaced, in one step each.
func (d *Daemon) takeOver(s *session, parts []saved, kept *sandbox.Listeners) error {
	first := parts[0]
	s.id, s.generation, s.started, s.stopped = first.Session, first.Generation+1, first.Started, first.Stopped
	s.take(first.Attachment)
	var said api.Attachment
	for _, what := range parts {
		s.unfenced = s.unfenced && what.Attachment.Unfenced
		said.Addresses = append(said.Addresses, what.Attachment.Addresses...)
		said.Interface = what.Attachment.Interface
	}
	if uplinks, err := s.namespace.Uplinks(); err == nil && !s.sealed {
		s.takeUplinks(uplinks, said.Addresses)
	}
	p, err := d.usableStill(s.policy)
	if err != nil {
		closeKept(kept)
		return err
	}
	if err := d.enforce(s, said, p); err != nil {
		closeKept(kept)
		return err
	}
	if s.stopped {
		closeKept(kept)
		d.tell(d.manager.Forget(s.storeName()))
		return nil
	}
	if !whole(kept, s.namespace.HasIPv6(), forwarded(p)) {
		closeKept(kept)
		kept = nil
		d.tell(d.manager.Forget(s.storeName()))
	}
	if err := d.open(s, p, kept); err != nil {
		return err
	}
	return d.serve(s, p)
}

// usableStill returns a policy for a session that has it: also one that serves
// nobody new.
func (d *Daemon) usableStill(name string) (*nodePolicy, error) {
	pool, err := d.keeper.current()
	if err != nil {
		return nil, err
	}
	p := d.policies.get(name)
	switch {
	case p == nil:
		return nil, fmt.Errorf("policy %q: %w", name, errNoPolicy)
	case p.in != pool || p.rules == nil:
		return nil, fmt.Errorf("policy %q: %w", name, cmp.Or(p.err, errNoPool))
	}
	return p, nil
}

// revive lets a pool serve every session that it does not: after it was
// started again, or when a policy has come to be usable.
func (d *Daemon) revive() {
	for _, s := range d.table.all() {
		s.mu.Lock()
		if err := d.reviveOne(s); err != nil {
			d.log.Error("a session is not served", "session", s.id, "error", err)
		}
		d.table.leave(s)
	}
}

func (d *Daemon) reviveOne(s *session) error {
	pool, err := d.keeper.current()
	if err != nil || !s.live || s.stopped || s.served == pool {
		return err
	}
	p, err := d.usableStill(s.policy)
	if err != nil {
		return err
	}
	if s.listeners == nil { // never got so far
		if err := d.enforce(s, api.Attachment{Interface: s.keys[0].Interface}, p); err != nil {
			return err
		}
		if err := d.open(s, p, nil); err != nil {
			return err
		}
	}
	return d.serve(s, p)
}

// forwarded lists the ports inside that a policy forwards.
func forwarded(p *nodePolicy) []uint16 {
	var ports []uint16
	for _, f := range p.facts.Spec.Forward {
		ports = append(ports, f.Port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func closeKept(l *sandbox.Listeners) {
	if l != nil {
		l.Close()
	}
}
