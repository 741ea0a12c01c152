// SPDX-License-Identifier: Apache-2.0

//go:build soak

package proxy

import "testing"

// TestD4EightGiB: eight GiB up and eight down in the memory of a small body.
func TestD4EightGiB(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		most := bothWays(t, h2, 8<<30)
		if t.Logf("%d MiB in use at most", most>>20); most > maxBothWays {
			t.Error("not bounded")
		}
	})
}
