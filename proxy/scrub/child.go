// SPDX-License-Identifier: Apache-2.0

package scrub

import "slices"

// Child is a Scrubber that knows what s knows, now and later, and what it is
// taught itself, which s never learns. Until then it takes no memory: a table
// has 40 KiB. A child has no children, and is wiped before its parent. guessed is
// called once, when its streams have been used to guess a credential: see the
// package.
func (s *Scrubber) Child(guessed func()) *Scrubber {
	return &Scrubber{parent: s, guesses: guesses{told: guessed}}
}

// table is what s knows now.
func (s *Scrubber) table() *table {
	t := s.current.Load()
	if s.parent == nil {
		return t
	}
	switch base := s.parent.current.Load(); {
	case t == nil:
		return base
	case t.base == base:
		return t
	}
	s.adding.Lock()
	defer s.adding.Unlock()
	t = s.onParent()
	s.current.Store(t)
	return t
}

// onParent is what a child knows, on what its parent knows now. The caller holds
// adding: of two that find the parent changed, the later must not put the
// earlier's table back.
func (s *Scrubber) onParent() *table {
	base, t := s.parent.current.Load(), s.current.Load()
	if t != nil && t.base == base {
		return t
	}
	next := &table{base: base, patterns: base.patterns, starts: base.starts, filter: base.filter}
	if t != nil {
		next.stores = t.stores
		next.patterns = slices.Concat(base.patterns, t.patterns[t.inherited():])
		next.index(next.inherited())
	}
	return next
}

// inherited is how many of the patterns are base's.
func (t *table) inherited() int {
	if t.base == nil {
		return 0
	}
	return len(t.base.patterns)
}
