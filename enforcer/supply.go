// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// supply keeps one policy of a proxy supplied, with rules and with values, for as
// long as the proxy serves. The values never come by here: helpers write them
// into pipes whose read ends are passed on.
type supply struct {
	config   Config
	around   surroundings // of the profile
	group    *cgroup      // of our processes; nil: that of this one
	storeKey *os.File     // of a store with a passphrase; see secret.NewKeySlot
	undo     closers

	name         string // of the policy, in the proxy
	proxy        *proxyProcess
	ca           []byte
	placeholders map[string]string

	// check tells whether agents that began with one spec can go on with another.
	check func(first, next *policy.Session) error
	// renewed is told of each renewal: whose values, and why it failed, if it did.
	// The caller holds renewing.
	renewed func(names []string, err error) error

	first    *policy.Session         // as it began
	renewing sync.Mutex              // guards config and what is below from the start on
	spec     *policy.Session         // as it is now
	known    map[string]secret.Facts // what is recorded of stored credentials, by name
	due      map[string]time.Time    // when credentials with a lifetime are fetched again
	redue    chan struct{}           // due has changed
	closing  chan struct{}
}

// resolve waits for what the helpers know, beside what was known before, and
// makes the policy ready.
func (s *supply) resolve(all []*fetching, before map[string]secret.Facts) (*policy.Session, error) {
	known := make(map[string]secret.Facts, len(all))
	maps.Copy(known, before)
	var errs []error
	for _, f := range all {
		facts, err := f.await()
		if f.optional && errors.Is(err, secret.ErrAbsent) {
			continue
		}
		errs = append(errs, err)
		if f.ref.Kind() == secret.KindStore {
			known[f.ref.Name()] = facts
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	flags := policy.Flags{With: s.config.With, Login: s.config.Login, Allow: s.config.Allow, Profile: s.config.Profile, Registries: s.around.registries}
	spec, err := policy.Resolve(s.config.Policy, flags,
		func(name string) ([]string, string, bool) {
			facts, ok := known[name]
			return facts.Hosts, facts.Provider, ok
		})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.checkTargets(spec), checkPasswordHost(s.config.Policy, known)); err != nil {
		return nil, err
	}
	closeUnused(all, spec)
	s.known = known
	return spec, s.readAuthorities(spec)
}

// closeUnused drops the values of a profile's credentials that the policy or a
// flag stands in for.
func closeUnused(all []*fetching, spec *policy.Session) {
	for _, f := range all {
		used := f.name == proxyPassword && spec.Proxy != nil
		if !used && !isCredential(spec, f.name) {
			f.close()
		}
	}
}

func isCredential(spec *policy.Session, name string) bool {
	return slices.ContainsFunc(spec.Credentials, func(c policy.Credential) bool { return c.Name == name })
}

// valuesOf are those of the credentials that spec has.
func valuesOf(all []*fetching, spec *policy.Session) []*fetching {
	return slices.DeleteFunc(slices.Clone(all), func(f *fetching) bool { return !isCredential(spec, f.name) })
}

// readAuthorities reads the extra roots that the policy names, with the rights
// of whoever wrote the policy.
func (s *supply) readAuthorities(spec *policy.Session) error {
	for i := range spec.Hosts {
		target := &spec.Hosts[i]
		if target.CAFile == "" {
			continue
		}
		pem, err := s.config.Invoker.ReadNamed(target.CAFile, s.config.Trusted)
		if err != nil {
			return fmt.Errorf("host %q: ca: %w", target.Host, err)
		}
		target.CA = pem
	}
	return nil
}

// give has the proxy take the policy. sockets are ends of pairs on which it
// answers or asks, by what they are for.
func (s *supply) give(told policySpec, fetched []*fetching, sockets beside) error {
	m := message{Kind: msgPolicy, Policy: s.name}
	var besides []*os.File
	for what, f := range sockets {
		m.Besides, besides = append(m.Besides, what), append(besides, f)
	}
	if told.Session.Proxy != nil && told.Session.Proxy.Password {
		at := slices.IndexFunc(fetched, func(f *fetching) bool { return f.name == proxyPassword })
		m.Besides, besides = append(m.Besides, besidePassword), append(besides, fetched[at].value)
	}
	ready, err := s.proxy.askWith(m, told, valuesOf(fetched, told.Session), besides...)
	if err != nil {
		return err
	}
	s.ca, s.placeholders = ready.CA, ready.Placeholders
	return nil
}
