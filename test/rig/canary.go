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
	text := []byte(prefix)
	for range 40 {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			t.Fatalf("rig: make canary: %v", err)
		}
		text = append(text, alphabet[n.Int64()])
	}
	return string(text)
}
