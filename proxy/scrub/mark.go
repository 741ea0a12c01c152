// SPDX-License-Identifier: Apache-2.0

package scrub

import "math/bits"

// marks are the bytes that escapes begin with and line breaks end with, each
// with a bit of its own.
var marks = [256]uint8{'%': 1, '\\': 2, '&': 4, '\n': 8}

// cursor goes over the marks of a buffer in order, of 64 bytes at once: what
// hangs on a single byte the processor foresees wrong.
type cursor struct {
	next  int    // of the 64 bytes to look at
	found uint64 // the marks of those before, less those that are done with
}

// marksAt returns which of the 64 bytes at i are marks, as far as there are so
// many.
func marksAt(buf []byte, i int) uint64 {
	if rest := buf[i:]; len(rest) >= 64 {
		return marksOf((*[64]byte)(rest))
	}
	var end [64]byte
	copy(end[:], buf[i:])
	return marksOf(&end)
}

// mark returns the next place where the first escape or line break of a match
// may be, or len(buf).
func (s *search) mark() int {
	c := s.cursor // in registers
	for {
		for ; c.found != 0; c.found &= c.found - 1 {
			i := c.next - 64 + bits.TrailingZeros64(c.found)
			if i >= s.at && s.between(i) && s.matters(i) {
				s.cursor = c
				return i
			}
		}
		if c.next >= len(s.buf) {
			s.cursor = c
			return len(s.buf)
		}
		c.found = marksAt(s.buf, c.next)
		c.next += 64
	}
}

// between reports whether the mark at i is one in front of its neighbours.
func (s *search) between(i int) bool {
	mark := marks[s.buf[i]]
	if i > 0 {
		mark &= s.before[s.buf[i-1]]
	}
	if i+1 < len(s.buf) {
		mark &= s.behind[s.buf[i+1]]
	}
	return mark != 0
}

// matters reports whether the mark at i may be the first of a match.
func (s *search) matters(i int) bool {
	rest := s.buf[i:]
	if rest[0] == '\n' {
		line := rest[1:]
		for n := 0; n < maxIndent && len(line) > 0 && (line[0] == ' ' || line[0] == '\t'); n++ {
			line = line[1:]
		}
		if len(line) >= block && !interrupted(line) {
			return s.hasBlock(line)
		}
		return s.holds(rest)
	}
	if s.odd {
		return true
	}
	c, width, partial := deepest.unit(rest)
	return partial && !s.last || width > 1 && s.member[c] && s.holds(rest)
}

// holds reports whether src may begin with a block of characters in whatever
// spelling, with line breaks before and between them.
func (s *search) holds(src []byte) bool {
	v, w := uint32(0), unwrapped
	for i := 0; i < block; {
		if len(src) == 0 {
			return !s.last
		}
		c, width, partial := src[0], 1, false
		if escapes[c] {
			c, width, partial = deepest.unit(src)
		}
		switch {
		case partial && !s.last:
			return true
		case w.next(c):
		case w == afterCR || !s.member[c]:
			return false
		default:
			v |= uint32(c) << (8 * i)
			i, w = i+1, unwrapped
		}
		src = src[width:]
	}
	return s.has(v)
}

// interrupts holds 1 for the bytes that stand in the way of a block of
// characters.
var interrupts = [256]uint8{'%': 1, '\\': 1, '&': 1, '\r': 1, '\n': 1}

// interrupted reports whether the block that rest begins with cannot be looked
// up as it is.
func interrupted(rest []byte) bool {
	_ = rest[block-1]
	return interrupts[rest[0]]|interrupts[rest[1]]|interrupts[rest[2]]|interrupts[rest[3]] != 0
}
