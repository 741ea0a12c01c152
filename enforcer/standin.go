// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"crypto/rand"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// usable is a credential's value in the form in which the proxy uses it: a key
// pair is stored in several. It takes value over.
func usable(c *policy.Credential, value secret.Value) (secret.Value, error) {
	if !c.Signs() {
		return value, nil
	}
	defer value.Wipe()
	pair, err := sign.Read(value.Reveal())
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(pair)
}

// standIn makes what the agent holds instead of a usable value.
func standIn(c *policy.Credential, value secret.Value, tailSeed []byte) (string, error) {
	if !c.Signs() {
		return policy.Placeholder(*c, value.Len(), tailSeed, rand.Reader)
	}
	ours, err := sign.ParseKeys(value.Reveal())
	if err != nil {
		return "", err
	}
	theirs, err := ours.Placeholder(rand.Reader)
	return string(theirs.Join()), err
}

// placeholderOf is what the variable of c at index gets; false: it is not set.
func placeholderOf(c *policy.Credential, placeholder string, index int) (string, bool) {
	if !c.Signs() {
		return placeholder, true
	}
	parts := strings.Split(placeholder, ":")
	if index >= len(parts) {
		return "", false
	}
	return parts[index], true
}
