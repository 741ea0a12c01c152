// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
	kept := d.claim(parts[0].Cookie)
	s := d.table.enter(parts[0].Cookie)
	defer d.table.leave(s)
	ns, err := reopen(parts)
	if errors.Is(err, errGone) {
		closeKept(kept)
		d.dropGone(parts)
		return
	}
	s.remember(parts)
	d.table.name(s)
	s.namespace = ns // nil where we could not look, for now
	d.note(s, d.takeOver(s, parts, kept))
	s.live = true
	for _, what := range parts {
		d.claimKey(s, what)
	}
}

// remember takes what was written down of a session. How it is linked is not
// asked again: root in the container has had time.
func (s *session) remember(parts []saved) {
	first := parts[0]
	s.id, s.started = first.Session, first.Started
	s.take(first.Attachment)
	for _, what := range parts {
		// Not all of them were written at each change.
		s.generation, s.stopped = max(s.generation, what.Generation+1), s.stopped || what.Stopped
		s.unfenced = s.unfenced && what.Attachment.Unfenced
		s.takeUplinks(nil, what.Own)
	}
	for _, link := range hostLinks(parts) {
		if there, err := netns.HasLink(link.Index); there || err != nil {
			s.uplinks = append(s.uplinks, netns.Uplink{HostIndex: link.Index, Hardware: link.Hardware})
		}
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

// takeOver puts everything of a session in force again and serves it. With an
// error it stays in the kernel as it is, refused, until revive tries again.
func (d *Daemon) takeOver(s *session, parts []saved, kept *sandbox.Listeners) error {
	p, err := d.enforceAgain(s, parts)
	if err != nil || s.stopped || !whole(kept, s.namespace.HasIPv6(), forwarded(p)) {
		closeKept(kept)
		kept = nil
		d.tell(d.manager.Forget(s.storeName())) // their ports are to be free for others
	}
	if err != nil || s.stopped {
		return err
	}
	if err := d.open(s, p, kept); err != nil {
		return err
	}
	return d.serve(s, p)
}

// enforceAgain puts in force what holds a session, under what its policy says
// now. What is in force is only ever replaced, in one step each.
func (d *Daemon) enforceAgain(s *session, parts []saved) (p *nodePolicy, err error) {
	if s.namespace == nil {
		if s.namespace, err = reopen(parts); err != nil {
			return nil, err
		}
	}
	if p, err = d.usableStill(s.policy); err != nil {
		return nil, errors.Join(err, d.guard(s, s.uplinks)) // nobody serves it, but it is held as before
	}
	if s.enforced {
		return p, nil
	}
	return p, d.enforce(s, p)
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
		d.reviveOne(s)
	}
}

func (d *Daemon) reviveOne(s *session) {
	s.mu.Lock()
	defer d.table.leave(s)
	if s.live {
		d.note(s, d.serveAgain(s))
	}
}

// revivePause is how long a session waits that ended by a fault of its own, so
// that a container that makes it end all the time has no daemon to itself.
const revivePause = time.Second

// sessionEnded is told of a session that the pool serves no more, because of its
// sockets: root inside can end them (SOCK_DESTROY of linux/sock_diag.h). It is
// refused until it is served again, by new ones.
func (d *Daemon) sessionEnded(id string, err error) {
	d.log.Error("the proxy gave a session up", "session", id, "error", err)
	go func() {
		s := d.table.named(id)
		if s == nil {
			return // over meanwhile
		}
		s.mu.Lock() // its attachment may still be under way
		if s.live {
			if err := d.silence(s); err != nil {
				d.log.Warn("close sockets of a session", "session", id, "error", err)
			}
		}
		d.table.leave(s)
		select {
		case <-time.After(revivePause):
			d.reviveOne(s)
		case <-d.closing:
		}
	}()
}

func (d *Daemon) serveAgain(s *session) error {
	pool, err := d.keeper.current()
	if err != nil || s.stopped || s.served == pool {
		return err
	}
	if s.listeners == nil {
		return d.takeOver(s, d.table.parts(s.cookie), nil)
	}
	p, err := d.usableStill(s.policy)
	if err != nil {
		return err
	}
	return d.serve(s, p)
}

// note says why a session is not served, here and to who asks how the node is;
// nil: it is served, or over.
func (d *Daemon) note(s *session, err error) {
	if err != nil {
		d.log.Error("a session is not served", "session", s.id, "error", err)
	}
	d.table.note(s.cookie, err)
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
