// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// ErrLoginOnNode is returned for a login in the policy of a node: whoever
// refreshes one has to store it, and a node has no user to do that for.
var ErrLoginOnNode = errors.New("a login that is refreshed cannot be used by containers; use a key")

// nodeSpec makes what containers hold of a policy the same after each restart:
// it stands in files that outlive the proxy. Nil: everything is random.
type nodeSpec struct {
	Seed   []byte            `json:"seed"`             // the policy's own
	Shared []byte            `json:"shared,omitempty"` // the policy's in the whole cluster, see shared
	CA     []byte            `json:"ca,omitempty"`     // the certificate of before, PEM
	Kept   map[string]string `json:"kept,omitempty"`   // placeholders of before that still fit
}

// policySeed is what a node's policy is made of. From it nobody learns the
// node's seed, or another policy's.
func policySeed(node []byte, name string) ([]byte, error) {
	return hkdf.Key(sha256.New, node, nil, "phantom-ns policy "+name, seedSize)
}

// random is where a thing called label takes its random octets from.
func (n *nodeSpec) random(label string) io.Reader {
	if n == nil {
		return rand.Reader
	}
	return derived(n.Seed, label)
}

// derived are the octets that a seed has for a thing called label.
func derived(seed []byte, label string) io.Reader {
	key, err := hkdf.Key(sha256.New, seed, nil, "phantom-ns placeholder "+label, 32)
	if err != nil {
		return failing{err}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return failing{err}
	}
	return keystream{cipher.NewCTR(block, make([]byte, aes.BlockSize))} // each key is used once
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// keystream are the octets that a cipher makes.
type keystream struct{ cipher.Stream }

// Read never fails.
func (k keystream) Read(p []byte) (int, error) {
	clear(p)
	k.XORKeyStream(p, p)
	return len(p), nil
}

func (n *nodeSpec) kept(name string) (string, bool) {
	if n == nil {
		return "", false
	}
	text, ok := n.Kept[name]
	return text, ok
}

// account is what stands for a service account's key file. It has a key of its
// own, which cannot be derived: the one of before is used again for as long as
// the account is the same.
func (n *nodeSpec) account(c *policy.Credential, value secret.Value) (string, error) {
	if kept, ok := n.kept(c.Name); ok {
		before, err := sign.ReadAccount([]byte(kept))
		now, nowErr := sign.ReadAccount(value.Reveal())
		if err == nil && nowErr == nil && before.Email() == now.Email() {
			return kept, nil
		}
	}
	return standInAccount(value)
}

// authorityLabel cannot be the name of a credential.
const authorityLabel = "certificate authority"

// authority has a key that is derived, so that none has to be kept on a disk. It
// is good for every name: a reload may add some, and containers read it once.
func (n *nodeSpec) authority() (*ca.Authority, error) {
	key := make([]byte, ca.KeySize)
	from := n.random(authorityLabel)
	for {
		if _, err := io.ReadFull(from, key); err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
		authority, err := ca.New(ca.Options{Key: key, Certificate: bytes.Clone(n.CA)})
		if errors.Is(err, ca.ErrKey) { // beyond the curve's order: one of 2^32
			continue
		}
		return authority, err
	}
}
