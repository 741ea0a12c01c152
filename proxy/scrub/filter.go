// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"encoding/binary"
)

// The search looks at one block of four bytes in every stride. A match that
// begins with MinLength unescaped characters holds such a block whole,
// wherever it begins. Any other match has an escape or a line break among its
// first bytes: those are looked for by themselves.
const (
	block  = 4
	stride = MinLength - block + 1
	// reach is how far behind the beginning of a match its first escape or LF
	// can be; LF may follow on a CR.
	reach = MinLength

	hashBits = 17 // of the set of blocks: 16 KiB, half of a small L1 cache
)

// filter holds what texts without any credential are dismissed by. All of it
// may say yes too often, never no.
type filter struct {
	blocks [1 << (hashBits - 6)]uint64 // hashes of blocks of the first characters
	pairs  [1 << 10]uint64             // first two bytes
	member [256]bool                   // first characters
	odd    bool                        // a credential has an escape character itself
}

// hash maps a block, in any case of its letters, to a bit of blocks.
func hash(v uint32) uint32 { return (v | 0x20202020) * 0x9e3779b1 >> (32 - hashBits) }

func (f *filter) hasBlock(b []byte) bool {
	h := hash(binary.LittleEndian.Uint32(b))
	return f.blocks[h>>6]>>(h&63)&1 != 0
}

func (f *filter) hasPair(c, d byte) bool {
	i := uint16(c)<<8 | uint16(d)
	return f.pairs[i>>6]>>(i&63)&1 != 0
}

func (f *filter) add(p *pattern) {
	// One more than the stride: what follows on a line break is looked up too.
	for at := 0; at <= reach && at+block <= len(p.values); at++ {
		f.addBlocks(p, at, 0, 0)
	}
	for c := range 256 {
		f.addPairs(p, byte(c))
		for at := 0; at <= reach && at < len(p.values); at++ {
			f.member[c] = f.member[c] || p.takes(at, byte(c))
		}
		f.odd = f.odd || p.kind == asOctets && escapes[c] && bytes.IndexByte(p.values, byte(c)) >= 0
	}
}

// addBlocks adds all blocks of the characters at and following, i of which are
// in v.
func (f *filter) addBlocks(p *pattern, at, i int, v uint32) {
	if i == block {
		h := hash(v)
		f.blocks[h>>6] |= 1 << (h & 63)
		return
	}
	for c := range 256 {
		if p.takes(at+i, byte(c)) {
			f.addBlocks(p, at, i+1, v|uint32(c)<<(8*i))
		}
	}
}

func (f *filter) addPairs(p *pattern, c byte) {
	first := p.takes(0, c)
	for d := range 256 {
		if escapes[c] || first && (p.takes(1, byte(d)) || escapes[d] || d == '\r' || d == '\n') {
			i := uint16(c)<<8 | uint16(d)
			f.pairs[i>>6] |= 1 << (i & 63)
		}
	}
}

// marks are the bytes by which the other matches are found.
const marks = "%\\&\n"

// cursor finds the next mark.
type cursor struct {
	at    [len(marks)]int // the next of each, len(buf) for none
	fresh bool
}

func (c *cursor) next(buf []byte, from int) int {
	first := len(buf)
	for i := range c.at {
		if c.at[i] < from || !c.fresh {
			c.at[i] = len(buf)
			if k := bytes.IndexByte(buf[from:], marks[i]); k >= 0 {
				c.at[i] = from + k
			}
		}
		first = min(first, c.at[i])
	}
	c.fresh = true
	return first
}
