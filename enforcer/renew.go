// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Reread is what a session's policy and profile say now.
type Reread struct {
	Policy  *policy.File
	Trusted bool
	Profile *policy.Profile
}

// ErrNotReloaded is wrapped where a session goes on as it was.
var ErrNotReloaded = errors.New("the session goes on as it was")

// Reload reads the policy again, with the checks of the start, fetches every
// credential again, and lets the proxy go over to both in one step: see
// [proxy.Group.Reload]. What the running session cannot do is refused
// ([policy.Session.CheckReload]). After an error the session is as it was.
func (s *supply) Reload() error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	config := s.config
	if config.Reread != nil {
		read, err := config.Reread()
		if err != nil {
			return s.notRenewed(nil, fmt.Errorf("reload: %w", err))
		}
		config.Policy, config.Trusted, config.Profile = read.Policy, read.Trusted, read.Profile
	}
	return s.renew(config, every)
}

// Stored fetches the credentials that were stored under names again.
func (s *supply) Stored(names []string) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return s.renew(s.config, func(_ source, ref secret.Ref) bool {
		return ref.Kind() == secret.KindStore && slices.Contains(names, ref.Name())
	})
}

// Removed ends the use of the credentials that were stored under names.
func (s *supply) Removed(names []string) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	var gone []string
	for _, c := range s.spec.Credentials {
		if name, ok := strings.CutPrefix(c.Source, string(secret.KindStore)+":"); ok && slices.Contains(names, name) {
			gone = append(gone, c.Name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if _, err := s.proxy.ask(message{Kind: msgRenew, Policy: s.name, Revoked: gone}); err != nil {
		return s.notRenewed(gone, fmt.Errorf("revoke: %w", err))
	}
	return s.renewed(gone, nil)
}

// renew resolves the policy anew under config, with those credentials fetched
// again that wanted tells, and hands the result to the proxy. The caller holds
// renewing since it made config: what it kept of s.config another renewal may
// have changed.
func (s *supply) renew(config Config, wanted func(source, secret.Ref) bool) error {
	// It lives as long as this attempt: what the attempt makes is undone with it,
	// and what it finds out is ours only at its end.
	trial := &supply{config: config, around: s.around, storeKey: s.storeKey}
	defer trial.undo.Close()
	trial.config.Profile = s.withoutLatecomers(config.Profile)
	names, err := s.tryRenewal(trial, wanted)
	if err != nil {
		return s.notRenewed(names, err)
	}
	s.config.Policy, s.config.Trusted, s.config.Profile = config.Policy, config.Trusted, config.Profile
	s.spec, s.known = trial.spec, trial.known
	s.schedule()
	return s.renewed(names, nil)
}

// notRenewed tells why all is as it was.
func (s *supply) notRenewed(names []string, err error) error {
	err = fmt.Errorf("%w: %w", ErrNotReloaded, err)
	return errors.Join(err, s.renewed(names, err))
}

// withoutLatecomers leaves out what the profile could use and was not stored
// when the session began.
func (s *supply) withoutLatecomers(p *policy.Profile) *policy.Profile {
	if p == nil {
		return nil
	}
	own := *p
	own.Credentials = slices.DeleteFunc(slices.Clone(p.Credentials), func(name string) bool { return !isCredential(s.first, name) })
	return &own
}

func (s *supply) tryRenewal(trial *supply, wanted func(source, secret.Ref) bool) (names []string, err error) {
	if err := trial.checkPolicy(); err != nil {
		return nil, err
	}
	fetching, err := trial.startHelpers(s.group, wanted)
	for _, f := range fetching {
		names = append(names, f.name)
	}
	if err != nil {
		return names, err
	}
	if trial.spec, err = trial.resolve(fetching, s.known); err != nil {
		return names, err
	}
	if err := s.check(s.first, trial.spec); err != nil {
		return names, err
	}
	ready, err := s.proxy.askWith(message{Kind: msgRenew, Policy: s.name}, trial.spec, valuesOf(fetching, trial.spec))
	if err == nil {
		s.placeholders = ready.Placeholders
	}
	return names, err
}

// recordRenewal writes down how it went, in the log and in the session's state.
func (s *Session) recordRenewal(names []string, err error) error {
	r := s.lifeRecord(audit.ReasonReload)
	r.Credential = strings.Join(names, ", ")
	if err != nil {
		s.config.Notify(err.Error())
		r.Verdict = audit.Deny
		return s.trail.Record(r)
	}
	return errors.Join(s.saveState(), s.trail.Record(r))
}

// every wants all credentials.
func every(source, secret.Ref) bool { return true }
