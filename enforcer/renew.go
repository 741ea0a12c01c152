// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
// [proxy.Server.Reload]. What the running session cannot do is refused
// ([policy.Session.CheckReload]). After an error the session is as it was.
func (s *Session) Reload() error {
	config := s.config
	if s.config.Reread != nil {
		read, err := s.config.Reread()
		if err != nil {
			return s.notRenewed(nil, fmt.Errorf("reload: %w", err))
		}
		config.Policy, config.Trusted, config.Profile = read.Policy, read.Trusted, read.Profile
	}
	return s.renew(config, every)
}

// Stored fetches the credentials that were stored under names again.
func (s *Session) Stored(names []string) error {
	return s.renew(s.config, func(_ source, ref secret.Ref) bool {
		return ref.Kind() == secret.KindStore && slices.Contains(names, ref.Name())
	})
}

// Removed ends the use of the credentials that were stored under names.
func (s *Session) Removed(names []string) error {
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
	if err := s.proxy.ask(message{Kind: msgRenew, Revoked: gone}); err != nil {
		return s.notRenewed(gone, fmt.Errorf("revoke: %w", err))
	}
	return s.renewed(gone)
}

// renew resolves the session anew under config, with those credentials fetched
// again that wanted tells, and hands the result to the proxy.
func (s *Session) renew(config Config, wanted func(source, secret.Ref) bool) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	// A session that lives as long as this attempt: what the attempt makes is
	// undone with it, and what it finds out is the session's only at its end.
	trial := &Session{id: s.id, config: config, around: s.around, storeKey: s.storeKey}
	defer trial.undo.Close()
	trial.config.Profile = s.withoutLatecomers(config.Profile)
	names, err := s.tryRenewal(trial, wanted)
	if err != nil {
		return s.notRenewed(names, err)
	}
	s.config.Policy, s.config.Trusted, s.config.Profile = config.Policy, config.Trusted, config.Profile
	s.spec, s.known = trial.spec, trial.known
	s.schedule()
	return errors.Join(s.saveState(), s.renewed(names))
}

// withoutLatecomers leaves out what the profile could use and was not stored
// when the session began.
func (s *Session) withoutLatecomers(p *policy.Profile) *policy.Profile {
	if p == nil {
		return nil
	}
	own := *p
	own.Credentials = slices.DeleteFunc(slices.Clone(p.Credentials), func(name string) bool {
		return !slices.ContainsFunc(s.first.Credentials, func(c policy.Credential) bool { return c.Name == name })
	})
	return &own
}

func (s *Session) tryRenewal(trial *Session, wanted func(source, secret.Ref) bool) (names []string, err error) {
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
	if err := s.first.CheckReload(trial.spec); err != nil {
		return names, err
	}
	return names, s.proxy.renew(trial.spec, fetching)
}

// renew sends the proxy a session to go over to, and fresh values.
func (p *proxyProcess) renew(spec *policy.Session, fetching []*fetching) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
	m, files := message{Kind: msgRenew}, []*os.File{r}
	for _, f := range fetching {
		if slices.ContainsFunc(spec.Credentials, func(c policy.Credential) bool { return c.Name == f.name }) {
			m.Fresh, files = append(m.Fresh, f.name), append(files, f.value)
		}
	}
	go func() { // a large session fills the pipe
		defer w.Close()
		// An error is the proxy's to notice: it reads to the end.
		_ = json.NewEncoder(w).Encode(spec)
	}()
	defer r.Close()
	return p.ask(m, files...)
}

// ask sends the serving proxy one request and waits for its answer.
func (p *proxyProcess) ask(m message, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fd, err := descriptor(f)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	if err := p.control.send(m, fds...); err != nil {
		return err
	}
	select {
	case answer := <-p.answers:
		if answer.Kind == msgFailed {
			return &StageError{Process: "proxy", Stage: answer.Stage, Text: answer.Text}
		}
		return nil
	case <-p.exited:
		return ErrProxyDied
	}
}

// listen hands on what a serving proxy says, until it ends.
func (p *proxyProcess) listen() {
	for {
		m, files, err := p.control.receive()
		closeAll(files)
		if err != nil {
			return
		}
		switch m.Kind {
		case msgRenewed, msgFailed:
			select {
			case p.answers <- m:
			case <-p.exited:
				return
			}
		}
	}
}

// renewed and notRenewed write down how it went.
func (s *Session) renewed(names []string) error {
	return s.trail.Record(s.renewal(names, audit.Allow))
}

func (s *Session) notRenewed(names []string, err error) error {
	err = fmt.Errorf("%w: %w", ErrNotReloaded, err)
	s.config.Notify(err.Error())
	return errors.Join(err, s.trail.Record(s.renewal(names, audit.Deny)))
}

func (s *Session) renewal(names []string, verdict audit.Verdict) audit.Record {
	r := s.lifeRecord(audit.ReasonReload)
	r.Verdict, r.Credential = verdict, strings.Join(names, ", ")
	return r
}

// every wants all credentials.
func every(source, secret.Ref) bool { return true }
