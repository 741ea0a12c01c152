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
		// Matches that begin before plain do so with lead characters as they are.
		plain := mark - lead
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
		if blocks[h>>6]>>(h&63)&1 != 0 && s.near(i) {
			s.at = i - stride + 1
			return i
		}
	}
	s.at = plain
	return plain - 1
}

// near reports whether a block beside the one at i is in the set, too.
func (s *search) near(i int) bool {
	return i >= block && s.hasBlock(s.buf[i-block:]) || len(s.buf) >= i+2*block && s.hasBlock(s.buf[i+block:])
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
