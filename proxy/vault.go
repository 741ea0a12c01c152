// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// Bounds of what one session captures.
const (
	maxHeldValues = 128  // usable at once
	maxTaken      = 4096 // all together: answers are searched for each until the end
)

var errTooManyCaptured = errors.New("capture answer: the session has captured too many credentials")

// vault is what a session has captured. Nothing of it outlives the session, and
// no other session has any of it.
type vault struct {
	mu    sync.Mutex
	held  []*heldValue // the oldest first
	taken int
	names map[string]bool // of what was ever held
}

// heldValue is one credential from an answer, and its placeholder.
type heldValue struct {
	swap.Credential
	expires time.Time // zero: with the session
}

// hold makes values usable by placeholders of their own, all of them or none:
// first answers are searched for them, then requests may carry them. A value
// that is held already keeps its placeholder.
func (v *vault) hold(s *Server, x *exchange, values []freshValue) (map[int]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	texts := make(map[int]string, len(values))
	var fresh []*heldValue
	for i := range values {
		known, h, err := v.find(&values[i], fresh)
		if err == nil && !known {
			fresh = append(fresh, h)
			err = teachOne(s.scrubber, &h.Credential, reveal(h))
		}
		if err != nil {
			wipe(fresh)
			return nil, fmt.Errorf("capture answer: field %q: %w", values[i].credential.Name, err)
		}
		for part, field := range values[i].fields {
			texts[field] = h.Placeholders()[part]
		}
	}
	v.taken += len(fresh)
	if v.taken > maxTaken || !v.makeRoom(x, fresh) {
		wipe(fresh)
		return nil, errTooManyCaptured
	}
	v.publish(s, fresh)
	return texts, nil
}

// find returns the held value that is the same as a fresh one, for the same
// use, or a new one.
func (v *vault) find(f *freshValue, fresh []*heldValue) (known bool, h *heldValue, err error) {
	for _, h := range slices.Concat(v.held, fresh) {
		same := false
		err := h.Value.Use(func(own secret.Value) error {
			same = subtle.ConstantTimeCompare(own.Reveal(), []byte(f.text)) == 1
			return nil
		})
		if err == nil && same && h.Policy == f.credential {
			return true, h, nil
		}
	}
	value, err := secret.New([]byte(f.text))
	if err != nil {
		return false, nil, err
	}
	h = &heldValue{Credential: swap.Credential{Policy: f.credential, Value: secret.NewCell(value)}, expires: f.expires}
	if err = secret.Check(value); err == nil {
		h.Placeholder, err = f.placeholder()
	}
	if err != nil {
		value.Wipe()
		return false, nil, err
	}
	return false, h, nil
}

// reveal is the value of a held one that nobody else has yet.
func reveal(h *heldValue) (value secret.Value) {
	_ = h.Value.Use(func(v secret.Value) error { value = v; return nil }) // empty: the scrubber refuses it
	return value
}

func wipe(list []*heldValue) {
	for _, h := range list {
		h.Value.Wipe()
	}
}

// makeRoom drops what the request traded in for a fresh value of the same use,
// and what has ended where the room is needed. What still counts is never
// dropped for something newer.
func (v *vault) makeRoom(x *exchange, fresh []*heldValue) bool {
	now := time.Now()
	traded := func(h *heldValue) bool {
		return h.Policy.Endpoint && x.finding.Carries(h.Placeholder) &&
			slices.ContainsFunc(fresh, func(f *heldValue) bool { return f.Policy == h.Policy })
	}
	crowded := len(v.held)+len(fresh) > maxHeldValues
	kept := slices.DeleteFunc(slices.Clone(v.held), func(h *heldValue) bool {
		return traded(h) || crowded && !h.expires.IsZero() && now.After(h.expires)
	})
	if len(kept)+len(fresh) > maxHeldValues {
		return false
	}
	for _, h := range v.held {
		if !slices.Contains(kept, h) {
			h.Value.Wipe()
		}
	}
	v.held = kept
	return true
}

// publish replaces the session's set of credentials.
func (v *vault) publish(s *Server, fresh []*heldValue) {
	for _, h := range fresh {
		h.Value.Set(reveal(h), h.expires)
		v.names[h.Policy.Name] = true
	}
	v.held = append(v.held, fresh...)
	all := v.credentials()
	s.changing.Lock()
	defer s.changing.Unlock()
	current := s.current.Load()
	current.credentials.Store(withMinted(current.credentials.Load(), all))
}

func (v *vault) credentials() (all []swap.Credential) {
	for _, h := range v.held {
		all = append(all, h.Credential)
	}
	return all
}

// withMinted puts all in the place of what was captured before.
func withMinted(set *swap.Set, all []swap.Credential) *swap.Set {
	return set.With(all, func(c *swap.Credential) bool { return c.Policy.Minted })
}

// rebind binds what is held as rules bind it. What they capture no more is
// dropped, and its value is good for nothing.
func (v *vault) rebind(rules Rules) []swap.Credential {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = slices.DeleteFunc(v.held, func(h *heldValue) bool {
		if h.Policy = captured(rules, h.Policy); h.Policy == nil {
			h.Value.Wipe()
		}
		return h.Policy == nil
	})
	return v.credentials()
}

// captured is the credential of rules that is called and used as c is.
func captured(rules Rules, c *policy.Credential) *policy.Credential {
	for _, host := range c.Hosts {
		for _, other := range rules.Connect(strings.TrimPrefix(host, "*."), 443).AtEndpoint {
			if other.Minted && other.Name == c.Name && other.Endpoint == c.Endpoint {
				return other
			}
		}
	}
	return nil
}

// has reports whether a value of that use is held.
func (v *vault) has(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.held, func(h *heldValue) bool { return h.Policy.Name == name })
}

// had reports whether one ever was: an upstream may still say what the session has
// given up.
func (v *vault) had(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.names[name]
}

// wipe is for the end of the session. It reports whether values ended with it.
func (v *vault) wipe() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	had := len(v.held) > 0
	wipe(v.held)
	v.held = nil
	return had
}
