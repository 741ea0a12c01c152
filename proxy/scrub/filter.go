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
	first  pairSet                     // of two bytes that a pattern begins with
	within pairSet                     // of two characters side by side in the first ones
	follow [256]uint8                  // which marks matter before this byte: bits by index in marks
	member [256]bool                   // first characters
	odd    bool                        // a credential has an escape character itself
}

// hash maps a block to a bit of blocks: the multiplier is 2^32 by the golden
// ratio, which spreads neighbours (Knuth, volume 3, section 6.4).
func hash(v uint32) uint32 { return v * 0x9e3779b1 >> (32 - hashBits) }

func (f *filter) hasBlock(b []byte) bool {
	h := hash(binary.LittleEndian.Uint32(b))
	return f.blocks[h>>6]>>(h&63)&1 != 0
}

type pairSet [1 << 10]uint64

func (p *pairSet) has(c, d byte) bool {
	i := uint16(c)<<8 | uint16(d)
	return p[i>>6]>>(i&63)&1 != 0
}

// add adds the pairs of c and what may follow it: one of next, or an escape or
// a line break.
func (p *pairSet) add(c byte, next []byte) {
	for _, d := range append([]byte("%\\&\r\n"), next...) {
		i := uint16(c)<<8 | uint16(d)
		p[i>>6] |= 1 << (i & 63)
	}
}

// add takes a pattern up.
func (f *filter) add(p *pattern) {
	// What follows on a line break is looked up too: up to reach, and the block
	// behind it.
	chars := make([][]byte, min(reach+block, len(p.values)))
	for i := range chars {
		chars[i] = p.chars(i)
	}
	for i := 0; i+block <= len(chars); i++ {
		f.addBlocks(chars[i:i+block], 0, 0)
	}
	for i := 0; i <= reach && i < len(chars); i++ {
		for _, c := range chars[i] {
			f.member[c] = true
			f.within.add(c, chars[min(i+1, len(chars)-1)])
		}
	}
	for _, c := range chars[0] {
		f.first.add(c, chars[1])
	}
	if p.kind == asOctets {
		f.odd = f.odd || bytes.ContainsAny(p.values, "%\\&")
	}
}

// addBlocks adds all blocks of the characters, the first i of which are in v.
func (f *filter) addBlocks(chars [][]byte, i int, v uint32) {
	if i == len(chars) {
		h := hash(v)
		f.blocks[h>>6] |= 1 << (h & 63)
		return
	}
	for _, c := range chars[i] {
		f.addBlocks(chars, i+1, v|uint32(c)<<(8*i))
	}
}

// finish is called when all patterns were added.
func (f *filter) finish() {
	all := make([]byte, 256)
	for c := range all {
		all[c] = byte(c)
	}
	for c := range byte(255) {
		if escapes[c] {
			f.first.add(c, all)
		}
	}
	f.addFollowers()
}

// addFollowers says before which bytes a mark begins an escape that matters.
func (f *filter) addFollowers() {
	for c := range 256 {
		short := shortEscapes[c]
		matters := [...]bool{
			nibbles[c] != invalid,
			c == '\\' || c == 'u' || c == 'x' || short == '\r' || short == '\n' || f.member[short],
			c == '#' || c == 'a' || c == 'l' || c == 'g' || c == 'q',
		}
		for i, m := range matters {
			if m || f.odd {
				f.follow[c] |= 1 << i
			}
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

// next returns the first mark at from or behind it that matters before what
// follows it, or len(buf).
func (c *cursor) next(buf []byte, from int, f *filter) int {
	first := len(buf)
	for i := range c.at {
		if c.at[i] < from || !c.fresh {
			if marks[i] == '\n' {
				c.at[i] = seekBreak(buf, from, f)
			} else {
				c.at[i] = seek(buf, from, marks[i], 1<<i, f)
			}
		}
		first = min(first, c.at[i])
	}
	c.fresh = true
	return first
}

func seek(buf []byte, from int, mark byte, bit uint8, f *filter) int {
	for {
		i := bytes.IndexByte(buf[from:], mark)
		if i < 0 {
			return len(buf)
		}
		from += i + 1
		if from == len(buf) || f.follow[buf[from]]&bit != 0 {
			return from - 1
		}
	}
}

// seekBreak is seek for LF, which text is full of: it asks one question that
// the processor can foresee the answer of.
func seekBreak(buf []byte, from int, f *filter) int {
	for {
		i := bytes.IndexByte(buf[from:], '\n')
		if i < 0 {
			return len(buf)
		}
		from += i + 1
		if len(buf)-from < block {
			return from - 1
		}
		rest := buf[from : from+block : from+block]
		h := hash(binary.LittleEndian.Uint32(rest))
		odd := opens[rest[0]] | interrupts[rest[1]] | interrupts[rest[2]] | interrupts[rest[3]]
		if uint8(f.blocks[h>>6]>>(h&63)&1)|odd != 0 && f.goesOn(buf[from:]) {
			return from - 1
		}
	}
}

// goesOn reports whether rest, which stands behind LF, may go on with base64.
func (f *filter) goesOn(rest []byte) bool {
	for i := 0; i < maxIndent && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t'); i++ {
		rest = rest[1:]
	}
	if len(rest) < block {
		return true
	}
	if sextets[rest[0]] == invalid {
		c, _, partial := deepest.unit(rest)
		return partial || sextets[c] != invalid || c == ' ' || c == '\t'
	}
	return f.hasBlock(rest) || interrupted(rest)
}

// interrupts holds 1 for the bytes that stand in the way of a block of
// characters, opens for those that one may follow on.
var (
	interrupts = [256]uint8{'%': 1, '\\': 1, '&': 1, '\r': 1, '\n': 1}
	opens      = [256]uint8{'%': 1, '\\': 1, '&': 1, ' ': 1, '\t': 1}
)

// interrupted reports whether the block that rest begins with cannot be looked
// up as it is.
func interrupted(rest []byte) bool {
	_ = rest[block-1]
	return interrupts[rest[0]]|interrupts[rest[1]]|interrupts[rest[2]]|interrupts[rest[3]] != 0
}
