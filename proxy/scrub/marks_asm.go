// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package scrub

// marksOf returns which bytes are marks, the first in the lowest bit. It alone
// reads every byte: written in Go, eight bytes at a time, it makes the search
// twice as slow.
//
//go:noescape
func marksOf(b *[64]byte) uint64
