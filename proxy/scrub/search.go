// SPDX-License-Identifier: Apache-2.0

package scrub

// search goes through one buffer. It visits each place at most once, in order.
type search struct {
	*table
	buf    []byte
	last   bool // nothing comes behind buf
	at     int  // the next place to look at
	cursor cursor
}

// hit is a place where a pattern begins.
type hit struct {
	pattern    *pattern // nil: none
	start, end int
	more       bool // end is not known yet
}

// next returns the next hit, and one without pattern and more at the end.
func (s *search) next() hit {
	for s.at < len(s.buf) {
		mark := s.mark()
		// Matches that begin before plain do so with a whole window and no mark
		// in it.
		plain := mark - reach
		for s.at < plain {
			probe := s.probe(plain)
			if h := s.visit(probe); h.pattern != nil || h.more {
				return h
			}
		}
		if h := s.visit(min(mark, len(s.buf)-1)); h.pattern != nil || h.more {
			return h
		}
	}
	return hit{}
}

// probe skips places before plain where no unescaped match begins, and returns
// the last place that one may begin at: the block there is in the set.
func (s *search) probe(plain int) int {
	buf, blocks := s.buf, &s.blocks
	for i := s.at + stride - 1; i < plain+stride-1; i += stride {
		b := buf[i : i+block : i+block]
		h := hash(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
		if blocks[h>>6]>>(h&63)&1 != 0 {
			s.at = i - stride + 1
			return i
		}
	}
	s.at = plain
	return plain - 1
}

// visit looks at each place up to and including to.
func (s *search) visit(to int) hit {
	for ; s.at <= to; s.at++ {
		h := s.look(s.at)
		if h.more {
			return h
		}
		if h.pattern != nil {
			s.at = h.end
			return h
		}
	}
	return hit{}
}

// look finds the longest match that begins at i. While a longer one may still
// come it is not a match yet.
func (s *search) look(i int) hit {
	src := s.buf[i:]
	if len(src) > 1 && !s.first.has(src[0], src[1]) || len(src) >= block && !s.hasBlock(src) && !interrupted(src) {
		return hit{}
	}
	h := hit{start: i}
	if s.continues(src[0], src[1:]) {
		s.try(&h, s.starts[src[0]], src)
	}
	if escapes[src[0]] {
		c, width, partial := deepest.unit(src)
		switch {
		case partial && !s.last:
			s.tryAll(&h, src)
		case c != src[0] && s.continues(c, src[width:]):
			s.try(&h, s.starts[c], src)
		}
	}
	return h
}

// continues reports whether a pattern that begins with c may go on with rest.
func (s *search) continues(c byte, rest []byte) bool {
	if len(rest) == 0 || s.odd {
		return true
	}
	d, _, partial := deepest.unit(rest)
	return partial || s.first.has(c, d)
}

func (s *search) try(h *hit, patterns []uint16, src []byte) {
	for _, i := range patterns {
		s.tryOne(h, &s.patterns[i], src)
	}
}

func (s *search) tryAll(h *hit, src []byte) {
	for i := range s.patterns {
		s.tryOne(h, &s.patterns[i], src)
	}
}

func (s *search) tryOne(h *hit, p *pattern, src []byte) {
	end, more := p.match(src, s.last)
	h.more = h.more || more
	if end > 0 && h.start+end > h.end {
		h.pattern, h.end = p, h.start+end
	}
}

// mark returns the next place where the first escape or line break of a match
// may be, or len(buf).
func (s *search) mark() int {
	for from := s.at; ; from++ {
		from = s.cursor.next(s.buf, from, &s.filter)
		if from == len(s.buf) || s.matters(from) {
			return from
		}
	}
}

// matters reports whether the mark at i may be in a match. The cursor has seen
// to what an LF needs.
func (s *search) matters(i int) bool {
	if s.odd || s.buf[i] == '\n' {
		return true
	}
	c, width, partial := deepest.unit(s.buf[i:])
	rest := s.buf[i+width:]
	switch {
	case partial:
		return !s.last
	case width == 1:
		return false
	case c == '\n':
		return s.goesOn(rest)
	case c == '\r' && len(rest) > 0:
		d, width, partial := deepest.unit(rest)
		return partial || d == '\n' && s.goesOn(rest[width:])
	case c == '\r':
		return true
	}
	return s.member[c] && s.neighbours(c, i, rest)
}

// neighbours reports whether c, the escape at i, may be next to what stands
// before it, which is then no escape, or to what follows it.
func (s *search) neighbours(c byte, i int, rest []byte) bool {
	if len(rest) == 0 || i > s.at && s.within.has(s.buf[i-1], c) {
		return true
	}
	d, _, partial := deepest.unit(rest)
	return partial || s.within.has(c, d)
}
