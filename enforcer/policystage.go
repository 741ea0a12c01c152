// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// credentialDeadline bounds the wait for one helper's answer. The helper's own
// deadline is shorter and says more.
const credentialDeadline = secret.DefaultTimeout + 5*time.Second

// policySpec is what the proxy is told of a policy. The credentials come down
// pipes of their own.
type policySpec struct {
	Session  *policy.Session   `json:"session"`
	TailSeed map[string][]byte `json:"tail_seed,omitempty"`
	Node     *nodeSpec         `json:"node,omitempty"` // nil: for one session, and gone with it
}

// policyStage is one policy in the proxy: what all its sessions have in common.
type policyStage struct {
	name  string
	log   *slog.Logger
	spec  policySpec
	rules atomic.Pointer[policy.Rules]

	authority *ca.Authority
	group     *proxy.Group
	leases    leases
	callbacks callbacks

	renewing sync.Mutex // guards what is below, and orders renewals
	// credentials are all that an agent has a placeholder for, by name, whether
	// or not a session uses them now.
	credentials map[string]swap.Credential
	holders     map[string]string // all placeholders
	sessions    int               // guarded by the process
}

// beside are descriptors of a policy by what they are for; nil where there is
// none.
type beside map[string]*os.File

// takePolicy takes the credentials of a policy in, mints what stands for them,
// and makes it ready for sessions.
func (p *proxyStage) takePolicy(m message, files []*os.File) (message, error) {
	if len(files) != 1+len(m.Fresh)+len(m.Besides) {
		return message{}, fmt.Errorf("%d descriptors for %d values", len(files), len(m.Fresh))
	}
	if err := p.reserve(m.Policy); err != nil {
		return message{}, err
	}
	own := &policyStage{name: m.Policy, log: p.log, credentials: make(map[string]swap.Credential), holders: make(map[string]string)}
	besides := make(beside)
	for i, what := range m.Besides {
		besides[what] = files[1+len(m.Fresh)+i]
	}
	err := own.take(files[0], m.Fresh, files[1:1+len(m.Fresh)], besides)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.policies == nil {
		err = errClosed
	}
	if err != nil {
		delete(p.policies, m.Policy)
		own.wipe()
		return message{}, err
	}
	p.policies[m.Policy] = own
	return own.ready(), nil
}

var (
	errPolicyThere = errors.New("there is a policy of that name")
	errPolicyGone  = errors.New("there is no policy of that name")
	errPolicyUsed  = errors.New("sessions use the policy")
)

// reserve takes the name while its policy is on its way.
func (p *proxyStage) reserve(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.policies == nil {
		return errClosed
	}
	if _, there := p.policies[name]; there {
		return fmt.Errorf("policy %q: %w", name, errPolicyThere)
	}
	p.policies[name] = nil
	return nil
}

// find is the policy of a name. The caller holds mu.
func (p *proxyStage) find(name string) (*policyStage, error) {
	own := p.policies[name]
	if own == nil {
		return nil, fmt.Errorf("policy %q: %w", name, errPolicyGone)
	}
	return own, nil
}

func (p *proxyStage) forgetPolicy(m message, _ []*os.File) (message, error) {
	p.mu.Lock()
	own, err := p.find(m.Policy)
	if err == nil && own.sessions > 0 {
		err = fmt.Errorf("policy %q: %w", m.Policy, errPolicyUsed)
	}
	if err == nil {
		delete(p.policies, m.Policy)
	}
	p.mu.Unlock()
	if err != nil {
		return message{}, err
	}
	return message{}, own.close()
}

func (p *policyStage) ready() message {
	return message{Kind: msgReady, CA: p.authority.PEM(), Placeholders: p.holders}
}

// take reads the spec and the values.
func (p *policyStage) take(spec *os.File, names []string, values []*os.File, besides beside) error {
	if err := json.NewDecoder(spec).Decode(&p.spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	if p.spec.Session == nil {
		return errors.New("read spec: no session")
	}
	rules, err := policy.Compile(p.spec.Session)
	if err != nil {
		return err
	}
	p.rules.Store(rules)
	var credentials []swap.Credential
	for i := range p.spec.Session.Credentials {
		c := &p.spec.Session.Credentials[i]
		at := slices.Index(names, c.Name)
		if at < 0 {
			return fmt.Errorf("credential %q: no value came", c.Name)
		}
		made, err := p.takeCredential(c, values[at])
		if err != nil {
			return fmt.Errorf("credential %q: %w", c.Name, err)
		}
		credentials = append(credentials, made)
	}
	if err := distinct(credentials); err != nil {
		return err
	}
	if err := p.searchAtRest(besides[besideAtRest], credentials); err != nil {
		return err
	}
	if f := besides[besideLeases]; f != nil {
		if p.leases.with, err = openControl(f); err != nil {
			return err
		}
	}
	if p.authority, err = p.newAuthority(); err != nil {
		return err
	}
	via, err := p.via(besides[besidePassword])
	if err != nil {
		return err
	}
	p.group, err = proxy.NewGroup(proxy.Config{
		Rules: rules, CA: p.authority, Credentials: swap.New(credentials),
		Limits: p.spec.Session.Limits, Logger: p.log, Keep: p.keepLogin, Via: via,
	})
	return err
}

// takeCredential reads one value and mints what stands for it.
func (p *policyStage) takeCredential(c *policy.Credential, pipe *os.File) (swap.Credential, error) {
	entry, err := readValue(pipe)
	if err != nil {
		return swap.Credential{}, err
	}
	made, err := p.makeCredential(c, entry.Value)
	if err == nil {
		p.credentials[c.Name], p.holders[c.Name] = made, made.Placeholder
	}
	return made, err
}

// makeCredential takes value over.
func (p *policyStage) makeCredential(c *policy.Credential, value secret.Value) (swap.Credential, error) {
	if l, ok := loginOf(c, value); ok {
		if p.spec.Node != nil {
			value.Wipe()
			return swap.Credential{}, ErrLoginOnNode
		}
		return p.takeLogin(c, l, value)
	}
	if c.Grant != nil {
		return p.takeGrant(c, value)
	}
	value, err := usable(c, value)
	if err != nil {
		return swap.Credential{}, err
	}
	placeholder, err := p.standIn(c, value)
	if err != nil {
		value.Wipe()
		return swap.Credential{}, err
	}
	cell := secret.NewCell(value)
	cell.Set(value, expiry(c))
	return swap.Credential{Policy: c, Placeholder: placeholder, Value: cell}, nil
}

// searchAtRest answers the supervisor's question whether one of the credentials
// lies about, beside the rest of the start.
func (p *policyStage) searchAtRest(socket *os.File, credentials []swap.Credential) error {
	if socket == nil {
		return nil
	}
	with, err := openControl(socket)
	if err != nil {
		return err
	}
	var needles []needle
	for i := range credentials {
		c := &credentials[i]
		err := c.Value.Use(func(v secret.Value) (err error) {
			of, err := newNeedles(c.Policy, v)
			needles = append(needles, of...)
			return err
		})
		if err != nil && !errors.Is(err, secret.ErrNoValue) {
			return fmt.Errorf("credential %q: %w", c.Policy.Name, err)
		}
	}
	go func() {
		// Who closed it ends the session, and says why.
		if err := answerAtRest(with, needles); err != nil && !errors.Is(err, errClosed) {
			p.log.Warn("search for credentials at rest", "error", err)
		}
	}()
	return nil
}

// newAuthority makes the CA of the policy's sessions. That of one session is
// constrained to its names where no name can be added later. A node's policy
// gets names by a reload, and its containers do not read their CA again.
func (p *policyStage) newAuthority() (*ca.Authority, error) {
	if p.spec.Node != nil {
		return p.spec.Node.authority()
	}
	names, closed := p.rules.Load().Names()
	switch {
	case !closed:
		names = nil // unconstrained
	case names == nil:
		names = []string{} // good for none
	}
	return ca.New(ca.Options{Names: names})
}

func (p *policyStage) close() error {
	if p == nil {
		return nil // it was on its way
	}
	err := p.group.Close()
	p.wipe()
	if p.leases.with != nil {
		err = errors.Join(err, p.leases.with.Close())
	}
	return err
}

func (p *policyStage) wipe() {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	for _, c := range p.credentials {
		wipe(c)
	}
}
