// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// PolicyFacts are what the world outside the pool has to know of a policy.
// Nothing in it is a credential: a placeholder is good in the policy's own
// sessions alone. Whoever keeps it gives it back to [Pool.AddPolicy] after a
// restart.
type PolicyFacts struct {
	CA           []byte            `json:"ca"`           // of the policy's authority, PEM
	Placeholders map[string]string `json:"placeholders"` // by credential's name
	Spec         *policy.Session   `json:"spec"`
}

var (
	// ErrPolicyThere is a name that a policy of the pool has already.
	ErrPolicyThere = errors.New("there is a policy of that name")
	// ErrNoPolicy is a name that no policy of the pool has.
	ErrNoPolicy = errors.New("there is no policy of that name")
)

// AddPolicy fetches the credentials of a policy, which is root's, and makes it
// ready for sessions. before is what it answered at an earlier time; zero:
// never. Keys that make no sense on a node are refused, see
// [policy.File.CheckNode]. Values with a lifetime are fetched again by the pool.
func (p *Pool) AddPolicy(ctx context.Context, name string, file *policy.File, before PolicyFacts) (PolicyFacts, error) {
	if err := p.reserve(name); err != nil {
		return PolicyFacts{}, fmt.Errorf("add policy %q: %w", name, err)
	}
	type outcome struct {
		s   *supply
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		s, err := p.supply(name, file, before)
		done <- outcome{s, err}
	}()
	select {
	case o := <-done:
		if err := p.settle(name, o.s, o.err); err != nil {
			return PolicyFacts{}, fmt.Errorf("add policy %q: %w", name, err)
		}
		return o.s.facts(), nil
	case <-ctx.Done():
		go func() { // helpers have deadlines of their own
			o := <-done
			p.settle(name, o.s, errors.Join(o.err, ctx.Err()))
		}()
		return PolicyFacts{}, fmt.Errorf("add policy %q: %w", name, context.Cause(ctx))
	}
}

func (p *Pool) reserve(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.policies == nil {
		return ErrProxyDied
	}
	if _, there := p.policies[name]; there {
		return ErrPolicyThere
	}
	p.policies[name] = nil
	return nil
}

// settle publishes a policy that was given to the proxy, or lets go of its name.
func (p *Pool) settle(name string, s *supply, err error) error {
	if err != nil && s != nil && s.ca != nil {
		_, forgotten := p.proxy.ask(message{Kind: msgForget, Policy: name})
		err = errors.Join(err, forgotten)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.policies == nil {
		err = ErrProxyDied
	}
	if err != nil {
		delete(p.policies, name)
		return err
	}
	p.policies[name] = s
	go s.keepFresh()
	return nil
}

// supply gives the proxy a policy.
func (p *Pool) supply(name string, file *policy.File, before PolicyFacts) (*supply, error) {
	if err := file.CheckNode(); err != nil {
		return nil, err
	}
	s := &supply{
		config: p.policyConfig(file), name: name, proxy: p.proxy,
		check: (*policy.Session).CheckNodeReload, redue: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	s.renewed = func(names []string, err error) error {
		if err != nil {
			p.config.Logger.Error("policy goes on as it was", "policy", name, "credentials", names, "error", err)
			return nil
		}
		p.config.Logger.Info("policy was renewed", "policy", name, "credentials", names)
		s.first = s.spec
		return nil
	}
	if err := s.checkPolicy(); err != nil {
		return nil, err
	}
	defer s.undo.Close() // the pipes, which are the proxy's by then
	fetching, err := s.startHelpers(nil, every)
	if err != nil {
		return nil, err
	}
	if s.spec, err = s.resolve(fetching, nil); err != nil {
		return nil, err
	}
	s.first = s.spec
	told, err := p.nodeSpec(name, s.spec, before)
	if err != nil {
		return nil, err
	}
	if err := s.give(told, fetching, nil); err != nil {
		return s, err
	}
	s.renewing.Lock()
	s.schedule()
	s.renewing.Unlock()
	return s, nil
}

// policyConfig is what a session of root's would have.
func (p *Pool) policyConfig(file *policy.File) Config {
	return Config{
		Policy: file, Trusted: true, User: User{Name: "root", Home: "/root"},
		Caller: map[string]string{"CREDENTIALS_DIRECTORY": p.config.Credentials},
		Logger: p.config.Logger, Notify: p.config.Notify,
	}
}

// nodeSpec says what the policy's placeholders and authority are made of.
func (p *Pool) nodeSpec(name string, spec *policy.Session, before PolicyFacts) (policySpec, error) {
	seed, err := policySeed(p.config.Seed, name)
	if err != nil {
		return policySpec{}, err
	}
	told := policySpec{
		Session: spec, TailSeed: make(map[string][]byte),
		Node: &nodeSpec{Seed: seed, CA: before.CA, Kept: stillFit(spec, before)},
	}
	if p.config.Shared != nil {
		if told.Node.Shared, err = policySeed(p.config.Shared, name); err != nil {
			return policySpec{}, err
		}
	}
	for i := range spec.Credentials {
		c := &spec.Credentials[i]
		if told.TailSeed[c.Name], err = hkdf.Key(sha256.New, seed, nil, "phantom-ns tail "+c.Name, seedSize); err != nil {
			return policySpec{}, err
		}
	}
	return told, nil
}

// stillFit are the placeholders of before that may stay: containers hold them,
// also where the value has another length now. That of a key pair is derived
// anew, as its parts have lengths that never change.
func stillFit(spec *policy.Session, before PolicyFacts) map[string]string {
	kept := make(map[string]string)
	if before.Spec == nil {
		return kept
	}
	for i := range spec.Credentials {
		c := &spec.Credentials[i]
		at := slices.IndexFunc(before.Spec.Credentials, func(had policy.Credential) bool { return had.Name == c.Name })
		text := before.Placeholders[c.Name]
		if at < 0 || text == "" || c.Signs() {
			continue
		}
		if had := &before.Spec.Credentials[at]; reflect.DeepEqual(had.Placeholder, c.Placeholder) && had.Asserts() == c.Asserts() && had.Signs() == c.Signs() {
			kept[c.Name] = text
		}
	}
	return kept
}

// facts is what is known now.
func (s *supply) facts() PolicyFacts {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return PolicyFacts{CA: slices.Clone(s.ca), Placeholders: maps.Clone(s.placeholders), Spec: s.spec}
}

func (p *Pool) find(name string) (*supply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.policies[name]; s != nil {
		return s, nil
	}
	return nil, ErrNoPolicy
}

// ReloadPolicy fetches every credential of a policy again, and lets all its
// sessions go over to file in one step: see [proxy.Group.Reload]. What it adds is
// for sessions that begin later, as far as those that are there cannot use it
// ([policy.Session.CheckNodeReload]). After an error all is as it was.
func (p *Pool) ReloadPolicy(_ context.Context, name string, file *policy.File) (PolicyFacts, error) {
	s, err := p.find(name)
	if err == nil {
		err = file.CheckNode()
	}
	if err == nil {
		s.renewing.Lock()
		err = s.renew(p.policyConfig(file), every)
		s.renewing.Unlock()
	}
	if err != nil {
		return PolicyFacts{}, fmt.Errorf("reload policy %q: %w", name, err)
	}
	return s.facts(), nil
}

// RemovePolicy forgets a policy and its credentials. One that a session uses
// stays, and is an error.
func (p *Pool) RemovePolicy(name string) error {
	s, err := p.find(name)
	if err == nil {
		_, err = p.proxy.ask(message{Kind: msgForget, Policy: name})
	}
	if err != nil {
		return fmt.Errorf("remove policy %q: %w", name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.policies[name] == s {
		delete(p.policies, name)
		close(s.closing)
	}
	return nil
}

// Stored fetches the credentials that were stored under names again, in every
// policy that has one of them.
func (p *Pool) Stored(names []string) error {
	return p.each(names, func(s *supply) error { return s.Stored(names) })
}

// Removed ends the use of the credentials that were stored under names.
func (p *Pool) Removed(names []string) error {
	return p.each(names, func(s *supply) error { return s.Removed(names) })
}

// each does something with every policy that uses one of the stored names.
func (p *Pool) each(names []string, do func(*supply) error) error {
	p.mu.Lock()
	all := maps.Clone(p.policies)
	p.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if s == nil || !s.usesStored(names) {
			continue
		}
		if err := do(s); err != nil {
			errs = append(errs, fmt.Errorf("policy %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *supply) usesStored(names []string) bool {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return slices.ContainsFunc(sources(s.config.Policy, nil, nil), func(from source) bool {
		ref, err := secret.ParseRef(from.from)
		return err == nil && ref.Kind() == secret.KindStore && slices.Contains(names, ref.Name())
	})
}
