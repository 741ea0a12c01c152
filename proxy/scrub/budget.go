// SPDX-License-Identifier: Apache-2.0

package scrub

import "sync/atomic"

// maxDecoding bounds the memory of all decoders of one session: 15 of brotli at
// its widest window, 16 of zstd, or 4,096 of gzip.
const maxDecoding = 256 << 20

// Budget counts what the decoders of one session may take. The zero value is
// ready, and safe for concurrent use.
type Budget struct{ used atomic.Int64 }

// take reserves n bytes, or reports that there is no room for them.
func (b *Budget) take(n int64) bool {
	if b == nil || b.used.Add(n) <= maxDecoding {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *Budget) put(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// asks reports whether an answer in c may be asked for: with half of the budget
// gone what takes much is not, so that no answer has to be refused later.
func (b *Budget) asks(c codec) bool {
	const little = 1 << 20
	return c.open != nil && (b == nil || c.memory <= little || b.used.Load()+c.memory <= maxDecoding/2)
}
