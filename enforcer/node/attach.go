// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// attach makes a session of a namespace. The order is the product: from the
// first step on the namespace is refused everything, and what lets it reach the
// proxy comes last.
//
//	entry in the hooks ▸ sealed: lo alone, AnyIP, steer     ▸ listeners ▸ pool ▸ written down ▸ answer
//	                     pod:    fence inside, guard outside
//
// When a step fails, what was done before it is taken back: links are set down
// and stay so, then what holds the namespace goes.
func (d *Daemon) attach(a api.Attachment) (api.Attachment, error) {
	if err := a.Validate(); err != nil {
		return a, refuse(api.CodeInvalid, "%w", err)
	}
	if err := d.config.granted(a); err != nil {
		return a, refuse(api.CodeUnknownPolicy, "%w", err)
	}
	p, err := d.usable(a.Policy)
	if err != nil {
		return a, err
	}
	reserved := d.table.reserve(a.Key())
	if reserved == nil {
		return a, refuse(api.CodeExists, "container %s has interface %s attached already", a.Container, a.Interface)
	}
	s, what, err := d.attachReserved(a, p)
	d.table.settle(a.Key(), reserved, s, what)
	return what.Attachment, err
}

// usable returns a policy that the pool has and that may be used.
func (d *Daemon) usable(name string) (*nodePolicy, error) {
	pool, err := d.keeper.current()
	if err != nil {
		return nil, err
	}
	p := d.policies.get(name)
	switch {
	case p == nil:
		return nil, &api.Error{
			Code: api.CodeUnknownPolicy, Message: fmt.Sprintf("policy %q: %v", name, errNoPolicy),
			Hint: "write it to " + d.config.Policies + " and run phantom-ns reload",
		}
	case p.err != nil:
		return nil, refuse(api.CodeUnknownPolicy, "policy %q cannot be used: %w", name, p.err)
	case p.in != pool:
		return nil, errNoPool
	}
	return p, nil
}

func (d *Daemon) attachReserved(a api.Attachment, p *nodePolicy) (*session, saved, error) {
	ns, err := netns.Open(a.Namespace)
	if errors.Is(err, fs.ErrPermission) { // some hosts close PID 1's to root
		err = refuse(api.CodeNotNamespace, "%w", err)
	}
	if err != nil {
		return nil, saved{}, err
	}
	cookie, err := ns.Cookie()
	if err != nil {
		return nil, saved{}, errors.Join(err, ns.Close())
	}
	s := d.table.enter(cookie)
	defer d.table.leave(s)
	var back undo
	if s.live {
		err = errors.Join(d.join(s, a, p, &back), ns.Close())
	} else {
		s.namespace = ns
		err = d.begin(s, a, p, &back)
	}
	what := s.saved(a)
	if err == nil {
		back.push(func() error { return d.config.unsave(a.Key()) })
		err = d.config.save(what)
	}
	if err != nil {
		return nil, saved{}, errors.Join(err, back.run())
	}
	s.keys = append(s.keys, a.Key())
	d.log.Info("attached", "container", a.Container, "interface", a.Interface, "policy", s.policy, "session", s.id)
	return s, what, nil
}

// saved is what is written down and answered of an attachment of the session.
func (s *session) saved(a api.Attachment) saved {
	a.Session, a.Started = s.id, s.started
	if s.sealed && s.namespace != nil {
		a.Addresses = s.addresses()
	}
	return saved{
		Attachment: a, Cookie: s.cookie, Session: s.id, Generation: s.generation,
		Started: s.started, Stopped: s.stopped, HostLinks: s.hostLinks(), Own: s.own,
	}
}

// begin makes a session from nothing.
func (d *Daemon) begin(s *session, a api.Attachment, p *nodePolicy, back *undo) error {
	back.push(s.closeNamespace)
	s.id, s.generation, s.started = audit.NewID(), 1, time.Now().UTC()
	s.take(a)
	d.table.name(s)
	if !s.sealed {
		if err := s.look(a.Addresses); err != nil {
			return err
		}
	}
	back.push(func() error { return d.takeBack(s) })
	if err := d.enforce(s, p); err != nil {
		return err
	}
	if err := d.open(s, p, nil); err != nil {
		return err
	}
	if err := d.serve(s, p); err != nil {
		return err
	}
	s.live = true
	return nil
}

// take notes what is asked for.
func (s *session) take(a api.Attachment) {
	s.policy, s.sealed, s.unfenced, s.link, s.hostname, s.whose = a.Policy, a.Sealed, a.Unfenced, a.Interface, "", a.Container
	if a.Pod != nil {
		s.hostname, s.whose = a.Pod.Name, a.Pod.Namespace+"/"+a.Pod.Name
	}
}

// enforce puts in force what holds the namespace, whoever serves it.
func (d *Daemon) enforce(s *session, p *nodePolicy) error {
	if err := d.programs.SetSession(s.cookie, s.entry(p.rules.Declared())); err != nil {
		return err
	}
	var err error
	if s.sealed {
		err = s.namespace.Seal(s.link)
	} else {
		err = d.fence(s)
	}
	s.enforced = err == nil
	return err
}

// open makes the sockets inside, or goes on with those that were kept. With an
// error the session has none.
func (d *Daemon) open(s *session, p *nodePolicy, listeners *sandbox.Listeners) (err error) {
	if listeners == nil {
		spec := sandbox.ListenSpec{Pod: !s.sealed, Forward: forwarded(p)}
		if listeners, err = sandbox.Listen(s.namespace, spec); err != nil {
			return err
		}
	}
	if s.sealed {
		if err := d.steerTo(s, listeners); err != nil {
			return errors.Join(err, listeners.Close(), d.shut(s))
		}
	}
	s.listeners = listeners
	d.tell(d.manager.Store(s.storeName(), files(listeners)...))
	return nil
}

// shut closes what open opened.
func (d *Daemon) shut(s *session) error {
	d.tell(d.manager.Forget(s.storeName()))
	var errs []error
	if s.steer != nil {
		errs = append(errs, s.steer.Close())
	}
	if s.listeners != nil {
		errs = append(errs, s.listeners.Close())
	}
	s.steer, s.listeners = nil, nil
	return errors.Join(errs...)
}

// steerTo attaches the second layer of a sealed namespace.
func (d *Daemon) steerTo(s *session, listeners *sandbox.Listeners) error {
	tcp4, err := enforcer.Descriptor(listeners.TCP4)
	if err != nil {
		return err
	}
	tcp6, err := enforcer.Descriptor(listeners.TCP6)
	if err != nil {
		return err
	}
	steer, err := bpf.LoadSteer()
	if err != nil {
		return err
	}
	s.steer = steer
	return steer.Attach(s.namespace.FD(), netns.OwnAddr4, netns.OwnAddr6, tcp4, tcp6)
}

// serve lets the pool serve the session. Its log begins before.
func (d *Daemon) serve(s *session, p *nodePolicy) error {
	pool, err := d.keeper.current()
	if err != nil {
		return err
	}
	if s.trail == nil {
		if err := d.beginTrail(s, p); err != nil {
			return err
		}
	}
	if err := pool.AddSession(s.config()); err != nil {
		return err
	}
	s.served = pool
	return nil
}

func (d *Daemon) beginTrail(s *session, p *nodePolicy) error {
	s.trail = d.book.open(s.id, s.generation, p.file.AuditFull == policy.AuditDrop)
	return s.trail.Log.Write(s.lifeRecord(audit.ReasonSessionStart))
}

// unserve ends what the pool does for the session. A pool that died has done so.
func (d *Daemon) unserve(s *session) error {
	pool := s.served
	s.served = nil
	if current, err := d.keeper.current(); pool == nil || err != nil || pool != current {
		return nil
	}
	return pool.RemoveSession(s.id)
}
