// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"crypto/rand"
	"math/big"
	"testing"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Canary returns a real credential for one run: prefix and 40 random
// characters, which makes an accidental match impossible (238 bits). Wherever
// it turns up, it came from this run.
func Canary(t testing.TB, prefix string) string {
	t.Helper()
	return CanaryOf(t, prefix, len(prefix)+40)
}

// CanaryOf is a [Canary] of a given length in all, for providers whose keys
// have one.
func CanaryOf(t testing.TB, prefix string, length int) string {
	t.Helper()
	text := []byte(prefix)
	for len(text) < length {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			t.Fatalf("rig: make canary: %v", err)
		}
		text = append(text, alphabet[n.Int64()])
	}
	return string(text)
}
