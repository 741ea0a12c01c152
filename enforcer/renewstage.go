// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// stageRenew is where a renewal is reported to have failed.
const stageRenew = "renew"

// renewPolicy goes over to another spec and to fresh values, all of it or none.
func (p *proxyStage) renewPolicy(m message, files []*os.File) (message, error) {
	p.mu.Lock()
	own, err := p.find(m.Policy)
	p.mu.Unlock()
	if err != nil {
		return message{}, err
	}
	own.renewing.Lock()
	defer own.renewing.Unlock()
	if err := own.renew(m, files); err != nil {
		return message{}, err
	}
	return own.ready(), nil
}

func (p *policyStage) renew(m message, files []*os.File) error {
	if len(m.Revoked) > 0 {
		return p.revoke(m.Revoked)
	}
	if len(files) != 1+len(m.Fresh) {
		return fmt.Errorf("%d descriptors for %d values", len(files), len(m.Fresh))
	}
	next := new(policy.Session)
	if err := json.NewDecoder(files[0]).Decode(next); err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	rules, err := policy.Compile(next)
	if err != nil {
		return err
	}
	fresh, added, err := p.takeFresh(next, m.Fresh, files[1:])
	var credentials []swap.Credential
	if err == nil {
		credentials, err = p.carryOver(next, added)
	}
	if err == nil {
		err = p.group.Reload(rules, swap.New(credentials), fresh)
	}
	if err != nil {
		for _, f := range fresh {
			f.Value.Wipe()
		}
		for _, c := range added {
			wipe(c)
		}
		return err
	}
	for _, c := range added {
		p.credentials[c.Policy.Name], p.holders[c.Policy.Name] = c, c.Placeholder
	}
	p.spec.Session = next
	p.rules.Store(rules)
	p.revokeOthers(next)
	return nil
}

// carryOver gives the next session's credentials the placeholders that agents
// have, and the cells that their values are in. Those that were added are new to
// the policy.
func (p *policyStage) carryOver(next *policy.Session, added map[string]swap.Credential) ([]swap.Credential, error) {
	var all []swap.Credential
	for i := range next.Credentials {
		c := &next.Credentials[i]
		had, ok := p.credentials[c.Name]
		if !ok {
			had, ok = added[c.Name]
		}
		if !ok {
			return nil, fmt.Errorf("credential %q: the agent has no placeholder for it", c.Name)
		}
		had.Policy = c
		all = append(all, had)
	}
	if len(added) > 0 {
		return all, distinct(all)
	}
	return all, nil
}

// takeFresh reads the values that helpers have fetched, and makes what the policy
// did not have before. Of a login that somebody has stored anew there is no
// value: it is read again when it is needed.
func (p *policyStage) takeFresh(next *policy.Session, names []string, pipes []*os.File) (fresh map[string]secret.Fresh, added map[string]swap.Credential, err error) {
	fresh, added = make(map[string]secret.Fresh, len(names)), make(map[string]swap.Credential)
	for i, name := range names {
		at := slices.IndexFunc(next.Credentials, func(c policy.Credential) bool { return c.Name == name })
		if at < 0 {
			return fresh, added, fmt.Errorf("credential %q: not the session's", name)
		}
		entry, err := readValue(pipes[i])
		had, before := p.credentials[name]
		if err == nil && !before {
			if added[name], err = p.makeCredential(&next.Credentials[at], entry.Value); err != nil {
				return fresh, added, fmt.Errorf("credential %q: %w", name, err)
			}
			continue
		}
		if err == nil {
			err = sameKind(&next.Credentials[at], had, entry.Value)
		}
		value := entry.Value
		switch {
		case err != nil:
		case had.Minter == nil:
			value, err = usable(&next.Credentials[at], value)
		case next.Credentials[at].Grant == nil:
			another := isAnother(&next.Credentials[at], had, value)
			if value.Wipe(); another {
				fresh[name] = secret.Fresh{}
			}
			continue
		case had.Minter.MadeFrom(value):
			value.Wipe()
			continue
		}
		if err != nil {
			value.Wipe()
			return fresh, added, fmt.Errorf("credential %q: %w", name, err)
		}
		fresh[name] = secret.Fresh{Value: value, Expires: expiry(&next.Credentials[at])}
	}
	return fresh, added, nil
}

// errOtherKind is a login in the place of a credential that stood alone, or the
// reverse: what the agent holds is in the form of the other.
var errOtherKind = errors.New("a login takes the place of a key, or a key that of a login; start a new session for it")

func sameKind(c *policy.Credential, had swap.Credential, value secret.Value) error {
	if c.Grant != nil {
		return nil
	}
	if _, login := loginOf(c, value); login != (had.Minter != nil) {
		return errOtherKind
	}
	return nil
}

// isAnother reports whether a login is not the one whose token is sent.
func isAnother(c *policy.Credential, had swap.Credential, value secret.Value) bool {
	login, err := readLogin(c, value)
	if err != nil {
		return true // it cannot be used, and says so when it is
	}
	same := false
	err = had.Value.Use(func(v secret.Value) error {
		same = subtle.ConstantTimeCompare(v.Reveal(), []byte(login.Access)) == 1
		return nil
	})
	return err != nil || !same
}

// readValue reads one helper's answer.
func readValue(pipe *os.File) (secret.Entry, error) {
	// Ignored where the pipe takes no deadline: the helper has its own.
	_ = pipe.SetReadDeadline(time.Now().Add(credentialDeadline))
	return secret.ReadReply(pipe)
}

// expiry is when a value that was fetched now is not used any more.
func expiry(c *policy.Credential) time.Time {
	if c.Lifetime == 0 {
		return time.Time{}
	}
	return time.Now().Add(c.Lifetime)
}

var errNotOurs = errors.New("not the session's")

// revoke ends the use of credentials.
func (p *policyStage) revoke(names []string) error {
	for _, name := range names {
		c, ok := p.credentials[name]
		if !ok {
			return fmt.Errorf("credential %q: %w", name, errNotOurs)
		}
		wipe(c)
	}
	p.group.Revoke(names)
	return nil
}

// revokeOthers wipes what the session uses no more. Its cell stays, for a
// session that takes it back.
func (p *policyStage) revokeOthers(next *policy.Session) {
	for name, c := range p.credentials {
		if !slices.ContainsFunc(next.Credentials, func(other policy.Credential) bool { return other.Name == name }) {
			wipe(c)
		}
	}
}

// wipe leaves a credential without a value. One that is made makes no other.
func wipe(c swap.Credential) {
	if c.Minter != nil {
		c.Minter.Revoke()
		return
	}
	c.Value.Wipe()
}
