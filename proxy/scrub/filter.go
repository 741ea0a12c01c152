// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"encoding/binary"
)

// A match either begins with lead characters that are written as themselves,
// or has its first escape or line break among them.
//
// The first kind is found by probes: of one block in every stride such a match
// holds one whole, wherever it begins, and the block a block's width before or
// behind that one too. The second kind is found by its mark: a whole block of
// characters begins with an escape, which stands for one of the lead, as no match
// has fewer than lead and the rest of a block; or behind a line break, as that is
// base64, where matches are longer.
const (
	block  = 4
	lead   = MinLength - block + 1
	stride = lead - block + 1

	hashBits = 17 // of the set of blocks: 16 KiB, half of a small L1 cache
)

// filter holds what texts without any credential are dismissed by. All of it
// may say yes too often, never no.
type filter struct {
	blocks [1 << (hashBits - 6)]uint64 // hashes of blocks of the first characters
	first  pairSet                     // of two bytes that a pattern begins with
	before [256]uint8                  // which marks matter behind this byte: bits as in marks
	behind [256]uint8                  // and which before it
	member [256]bool                   // characters of blocks and line breaks
	odd    bool                        // a credential has an escape character itself

	written [256]bool // bytes of all forms of the credentials
	longest int       // the most bytes that one has
}

// hash maps a block to a bit of blocks: the multiplier is 2^32 by the golden
// ratio, which spreads neighbours (Knuth, volume 3, section 6.4).
func hash(v uint32) uint32 { return v * 0x9e3779b1 >> (32 - hashBits) }

func (f *filter) has(v uint32) bool {
	h := hash(v)
	return f.blocks[h>>6]>>(h&63)&1 != 0
}

func (f *filter) hasBlock(b []byte) bool { return f.has(binary.LittleEndian.Uint32(b)) }

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
	// The last place of a mark is behind lead characters, where a line break
	// can have its LF.
	chars := make([][]byte, min(lead+block, len(p.values)))
	for i := range chars {
		chars[i] = p.chars(i)
		for _, c := range chars[i] {
			f.member[c] = true
		}
	}
	for i := 0; i+block <= len(chars); i++ {
		f.addBlocks(chars[i:i+block], 0, 0)
	}
	for _, c := range chars[0] {
		f.first.add(c, chars[1])
	}
	f.addForm(p)
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
	f.member['\r'], f.member['\n'] = true, true
	f.addFollowers()
}

// addFollowers says before which bytes a mark begins an escape that matters, or
// a line break.
func (f *filter) addFollowers() {
	for c := range 256 {
		short := shortEscapes[c]
		matters := map[byte]bool{
			'%':  nibbles[c] != invalid,
			'\\': c == '\\' || c == 'u' || c == 'x' || f.member[short],
			'&':  c == '#' || f.named(byte(c)),
			'\n': c == ' ' || c == '\t' || escapes[c] || sextets[c] != invalid,
		}
		for mark, m := range matters {
			if m || f.odd {
				f.behind[c] |= marks[mark]
			}
		}
		f.before[c] = marks['%'] | marks['\\'] | marks['&']
		if f.member[c] {
			f.before[c] |= marks['\n']
		}
	}
}

// named reports whether the name of an entity that matters begins with c.
func (f *filter) named(c byte) bool {
	for _, e := range entityNames {
		if e.name[0] == c && f.member[e.c] {
			return true
		}
	}
	return false
}
