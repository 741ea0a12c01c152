// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package scrub

// marksOf returns which bytes are marks, the first in the lowest bit.
func marksOf(b *[64]byte) (found uint64) {
	for i, c := range b {
		if marks[c] != 0 {
			found |= 1 << i
		}
	}
	return found
}
