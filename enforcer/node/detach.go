// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// detach ends an attachment, and with the last of a namespace its session. One
// that is not there is ended. The file goes last: what a crash leaves in
// between is taken over or dropped by the next daemon, and the runtime, which
// got no answer, asks again.
func (d *Daemon) detach(ctx context.Context, key api.Key) error {
	if err := key.Validate(); err != nil {
		return refuse(api.CodeInvalid, "%w", err)
	}
	a, err := d.table.find(ctx, key)
	if a == nil || err != nil {
		return err
	}
	s := a.session
	s.mu.Lock()
	defer d.table.leave(s)
	i := slices.Index(s.keys, key)
	if i < 0 {
		return nil // by somebody else, while we waited
	}
	if len(s.keys) == 1 {
		err = d.end(s)
	} else if s.sealed && s.namespace != nil {
		err = s.namespace.RemoveName(key.Interface)
	}
	if err != nil {
		return err
	}
	if err := d.config.unsave(key); err != nil {
		return err
	}
	s.keys = slices.Delete(s.keys, i, i+1)
	d.table.forget(key, a)
	d.log.Info("detached", "container", key.Container, "interface", key.Interface, "session", s.id)
	return nil
}

// end takes back everything that was done for a session. Its container is at
// its end; one that still runs is not let out: while a link of it cannot be
// stopped the session goes on, and who asked is told, to ask again. What goes
// wrong after that is told and changes nothing about that it is over: what
// belongs to the namespace goes with it.
func (d *Daemon) end(s *session) error {
	if !s.live {
		return nil // but its file could not be removed
	}
	if err := d.stopLinks(s); err != nil {
		return err
	}
	if err := errors.Join(d.takeBack(s), s.closeNamespace()); err != nil {
		d.log.Warn("end of session", "session", s.id, "error", err)
	}
	return nil
}

// takeBack undoes everything that was done for a session in its namespace. Its
// log ends after what it would tell of.
func (d *Daemon) takeBack(s *session) error {
	s.live = false
	return errors.Join(d.silence(s), d.letGo(s), d.denials.Settle(), s.endTrail(d.book))
}

// stop ends what a session may do. The container stays, and everything that
// holds it: it reaches nothing any more.
func (d *Daemon) stop(id string) error {
	s, err := d.sessionNamed(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer d.table.leave(s)
	if !s.live {
		return refuse(api.CodeNotFound, "session %q is over", id)
	}
	s.stopped = true
	// Told first: a crash must not bring it back. It ends though that fails.
	var errs []error
	for _, what := range d.table.attached() {
		if what.Session != s.id {
			continue
		}
		what.Stopped = true
		errs = append(errs, d.config.save(what))
	}
	return errors.Join(append(errs, d.silence(s))...)
}

// silence closes what answers the container.
func (d *Daemon) silence(s *session) error { return errors.Join(d.unserve(s), d.shut(s)) }

// sessionNamed finds a session by its id or the beginning of it.
func (d *Daemon) sessionNamed(id string) (*session, error) {
	var found *session
	for _, what := range d.table.attached() {
		if id == "" || !strings.HasPrefix(what.Session, id) {
			continue
		}
		s := d.table.of(what.Cookie)
		if s == nil {
			continue // it has just ended
		}
		if what.Session == id {
			return s, nil
		}
		if found != nil && s != found {
			return nil, refuse(api.CodeInvalid, "more than one session begins with %q", id)
		}
		found = s
	}
	if found == nil {
		return nil, refuse(api.CodeNotFound, "no session %q", id)
	}
	return found, nil
}

// collect ends what a runtime does not know any more: of its network all but
// what it keeps, and of any network what has lost its namespace.
func (d *Daemon) collect(ctx context.Context, k api.Keep) error {
	keep := make(map[api.Key]bool, len(k.Keep))
	for _, key := range k.Keep {
		keep[key] = true
	}
	var errs []error
	for _, what := range d.table.attached() {
		key := what.Attachment.Key()
		if what.Attachment.Network == k.Network && !keep[key] || isGone(what) {
			errs = append(errs, d.detach(ctx, key))
		}
	}
	return errors.Join(errs...)
}
