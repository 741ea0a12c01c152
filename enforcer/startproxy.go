// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// startProxy fetches the credentials, starts the proxy beside that, resolves the
// policy with what was recorded about them, and gives the proxy the result. It
// returns when the proxy holds every credential.
func (s *Session) startProxy(group *cgroup) (*policy.Session, error) {
	if err := s.checkPolicy(); err != nil {
		return nil, err
	}
	fetching, err := s.startHelpers(group, every)
	if err != nil {
		return nil, err
	}
	p, records, err := s.spawnProxy(group, s.config.User.UID, s.lost)
	if err != nil {
		return nil, err
	}
	s.proxy = p
	s.watchProxy(records)
	spec, err := s.resolve(fetching, nil)
	if err != nil {
		return nil, err
	}
	s.tellProfile(spec)
	s.spec, s.first = spec, spec
	return spec, s.givePolicy(group, spec, fetching)
}

// givePolicy opens what the proxy speaks on besides, and gives it the policy.
func (s *Session) givePolicy(group *cgroup, spec *policy.Session, fetched []*fetching) error {
	told := policySpec{Session: spec}
	var err error
	if told.TailSeed, err = tailSeeds(s.config.User, spec); err != nil {
		return err
	}
	sockets := make(beside)
	defer func() {
		for _, f := range sockets {
			f.Close()
		}
	}()
	open := func(what string) (*control, error) {
		ours, theirs, err := newControlPair()
		if err == nil {
			sockets[what] = theirs
		}
		return ours, err
	}
	if len(spec.Credentials) > 0 {
		looking, err := open(besideAtRest)
		if err != nil {
			return err
		}
		s.lookAtRest(spec, looking)
	}
	if len(logins(spec)) > 0 {
		leasing, err := open(besideLeases)
		if err != nil {
			return err
		}
		s.serveLeases(group, spec, leasing)
	}
	return s.give(told, fetched, sockets)
}

// lost ends the session that the proxy serves no more.
func (s *Session) lost(_ string, err error) {
	select {
	case s.broken <- fmt.Errorf("proxy: %w", err):
	default: // it ends already
	}
}

// watchProxy collects the proxy's records and notices its end. At the end of
// the session the proxy ends first (its control socket closes), then the last
// records are taken in.
func (s *Session) watchProxy(records io.ReadCloser) {
	p := s.proxy
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		s.collect(records)
	}()
	go func() {
		<-p.exited
		select {
		case s.broken <- p.ended:
		default:
		}
	}()
	s.undo.push(func() error {
		err := p.Close()
		<-collected
		return err
	})
}

// serveSession hands the proxy what it is to serve.
func (s *Session) serveSession(l *sandbox.Listeners, published *published) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("serve session: %w", err)
	}
	own6 := netip.Addr{} // no name has an IPv6 address then
	if l.TCP6 != nil {
		own6 = netns.OwnAddr6
	}
	return s.proxy.serve(message{Session: s.id, Hostname: hostname, Own4: netns.OwnAddr4, Own6: own6}, l, published)
}
