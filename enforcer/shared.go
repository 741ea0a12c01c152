// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// A cluster's nodes can agree on placeholders without one of them asking
// another: each derives them from a seed that all of them are given. Who knows
// it knows placeholders, which are good for nothing outside a session; it makes
// no key.

// Bounds of a shared seed, in octets. The upper one keeps a wrong file from
// being taken for one.
const (
	minSharedSeed = 32
	maxSharedSeed = 1024
)

// ErrPlaceholderValue is a placeholder that cannot be known without the real
// value, which only nodes have.
var ErrPlaceholderValue = errors.New("its placeholder depends on the real value; say placeholder: name, or a template in which no group has the length *")

// ErrNoSharedSeed is a placeholder that is random where no seed is shared.
var ErrNoSharedSeed = errors.New("its placeholder is random, and no seed is shared; share one, or say placeholder: name")

// ReadSharedSeed reads the seed of a cluster from a file, a Secret's as a rule.
func ReadSharedSeed(path string) ([]byte, error) {
	seed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read shared seed: %w", err)
	}
	if len(seed) < minSharedSeed || len(seed) > maxSharedSeed {
		return nil, fmt.Errorf("read shared seed %s: it has %d octets; %d to %d are wanted", path, len(seed), minSharedSeed, maxSharedSeed)
	}
	return seed, nil
}

// SharedEnviron is what a container of the policy has in its environment on
// every node that was given the seed, as [PlaceholderEnviron] says it there.
// Without a seed (nil) that is known of names alone. No value is read.
func SharedEnviron(seed []byte, name string, file *policy.File) ([]string, error) {
	spec, err := policy.Resolve(file, policy.Flags{}, func(string) ([]string, string, bool) { return nil, "", false })
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", name, err)
	}
	n := &nodeSpec{}
	if seed != nil {
		if n.Shared, err = policySeed(seed, name); err != nil {
			return nil, fmt.Errorf("policy %q: %w", name, err)
		}
	}
	placeholders := make(map[string]string)
	for i := range spec.Credentials {
		c := &spec.Credentials[i]
		text, ok, err := n.shared(c)
		if err == nil && !ok && len(c.Env) > 0 {
			err = whyNotShared(c)
		}
		if err != nil {
			return nil, fmt.Errorf("policy %q: credential %q: %w", name, c.Name, err)
		}
		placeholders[c.Name] = text
	}
	return PlaceholderEnviron(spec, placeholders), nil
}

func whyNotShared(c *policy.Credential) error {
	if c.PlaceholderFixed() {
		return ErrNoSharedSeed
	}
	return ErrPlaceholderValue
}

// shared makes the placeholder that every node has; false: each has its own.
func (n *nodeSpec) shared(c *policy.Credential) (string, bool, error) {
	named := c.Placeholder.Mode == policy.ShapeName
	if n == nil || !c.PlaceholderFixed() || n.Shared == nil && !named {
		return "", false, nil
	}
	if named { // which is the same everywhere, and nothing is derived
		text, err := policy.Placeholder(*c, 0, nil, nil)
		return text, true, err
	}
	tail, err := hkdf.Key(sha256.New, n.Shared, nil, "phantom-ns tail "+c.Name, seedSize)
	if err != nil {
		return "", false, err
	}
	text, err := policy.Placeholder(*c, 0, tail, derived(n.Shared, c.Name))
	return text, true, err
}

// settled is the placeholder of c where it is known before its value: shared by
// all nodes, or that of before.
func (n *nodeSpec) settled(c *policy.Credential) (string, bool, error) {
	text, ok, err := n.shared(c)
	if err == nil && !ok {
		text, ok = n.kept(c.Name)
	}
	return text, ok, err
}
