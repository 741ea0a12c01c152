// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"maps"
	"slices"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// A value with a lifetime is fetched again when three quarters of it are over,
// so that the next one is there before the proxy uses the old one no more. A
// source that fails is asked again, a few times before that and then every
// minute.
const (
	freshNumerator, freshDenominator = 3, 4

	retriesPerLifetime = 20
	minRetry           = time.Second
	maxRetry           = time.Minute
)

// schedule notes when each credential with a lifetime is due, and keeps what is
// noted already of those that were not fetched. The caller holds renewing.
func (s *supply) schedule() {
	due := make(map[string]time.Time)
	for _, c := range s.spec.Credentials {
		if c.Lifetime > 0 {
			due[c.Name] = time.Now().Add(c.Lifetime * freshNumerator / freshDenominator)
		}
	}
	s.due = due
	select {
	case s.redue <- struct{}{}:
	default:
	}
}

// keepFresh fetches credentials again that are due, until the session ends.
func (s *supply) keepFresh() {
	for {
		name, at := s.nextDue()
		if name == "" {
			select {
			case <-s.redue:
				continue
			case <-s.closing:
				return
			}
		}
		timer := time.NewTimer(time.Until(at))
		select {
		case <-timer.C:
			s.freshen(name)
		case <-s.redue:
		case <-s.closing:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (s *supply) nextDue() (name string, at time.Time) {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	for _, other := range slices.Sorted(maps.Keys(s.due)) {
		if name == "" || s.due[other].Before(at) {
			name, at = other, s.due[other]
		}
	}
	return name, at
}

// freshen fetches one credential, and all that are due about as soon: a reload
// costs the connections to upstreams.
func (s *supply) freshen(name string) {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	lifetimes := make(map[string]time.Duration)
	for _, c := range s.spec.Credentials {
		if c.Lifetime > 0 && !s.due[c.Name].After(s.due[name].Add(c.Lifetime/retriesPerLifetime)) {
			lifetimes[c.Name] = c.Lifetime
		}
	}
	before := maps.Clone(s.due)
	err := s.renew(s.config, func(from source, _ secret.Ref) bool { return lifetimes[from.name] > 0 })
	for other, at := range before {
		switch lifetime := lifetimes[other]; {
		case lifetime == 0:
			s.due[other] = at // not fetched, whatever schedule says
		case err != nil:
			s.due[other] = time.Now().Add(min(max(lifetime/retriesPerLifetime, minRetry), maxRetry))
		}
	}
}
