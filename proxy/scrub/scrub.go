// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// MinLength is the fewest bytes a credential may have: what is shorter strikes
// innocent text. The search relies on it: see lead and stride.
const MinLength = secret.MinLength

// Pair is a credential and what the agent holds in its place.
type Pair struct {
	Secret      secret.Value
	Placeholder string
}

func (p Pair) check() error {
	switch err := secret.Check(p.Secret); {
	case err != nil:
		return err
	case p.Placeholder == "":
		return errors.New("no placeholder")
	case bytes.Contains([]byte(p.Placeholder), p.Secret.Reveal()):
		return errors.New("the placeholder holds the credential")
	}
	return nil
}

// Scrubber finds the credentials of one session. It is safe for any number of
// streams, and learns more of them while streams run: see [Scrubber.Add].
type Scrubber struct {
	parent  *Scrubber             // nil: none
	current atomic.Pointer[table] // nil: has learnt nothing that its parent has not
	adding  sync.Mutex
	guesses guesses
}

// table is what a Scrubber knows at one time. It is never written after it was
// published; the next one shares its patterns.
type table struct {
	base     *table         // of the parent: its patterns come first
	stores   []secret.Value // the values of the patterns, less those of base
	patterns []pattern
	starts   [256][]uint16 // patterns by their first character
	filter
}

// New makes a Scrubber. It keeps a copy of each credential, in locked memory;
// see [Scrubber.Wipe]. Each has to pass [secret.Check]. Without pairs a
// Scrubber finds nothing.
func New(pairs []Pair) (*Scrubber, error) {
	s := &Scrubber{}
	s.current.Store(&table{})
	if err := s.add(pairs); err != nil {
		return nil, fmt.Errorf("make scrubber: %w", err)
	}
	return s, nil
}

// Add makes the Scrubber look for more credentials, in every stream from its
// next read on. What it knows it keeps: a credential that was replaced may still
// stand in an answer. One that it knows already costs nothing. After an error it
// is as it was.
func (s *Scrubber) Add(pairs []Pair) error {
	if err := s.add(pairs); err != nil {
		return fmt.Errorf("teach scrubber: %w", err)
	}
	return nil
}

func (s *Scrubber) add(pairs []Pair) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	t := s.current.Load()
	if s.parent != nil {
		t = s.onParent()
	}
	next, err := t.with(pairs)
	if err == nil && next != t {
		s.current.Store(next)
	}
	return err
}

// with is a table that has the patterns of pairs too.
func (t *table) with(pairs []Pair) (*table, error) {
	fresh, size := make([]Pair, 0, len(pairs)), 0
	for i, pair := range pairs {
		if err := pair.check(); err != nil {
			return nil, fmt.Errorf("pair %d: %w", i, err)
		}
		if !t.knows(pair.Secret.Reveal()) {
			fresh = append(fresh, pair)
			size += storeSize(pair.Secret.Len())
		}
	}
	if len(fresh) == 0 {
		return t, nil
	}
	store, err := secret.New(make([]byte, size))
	if err != nil {
		return nil, err
	}
	next := &table{
		base: t.base, stores: append(slices.Clip(t.stores), store), patterns: slices.Clone(t.patterns),
		starts: t.starts, filter: t.filter,
	}
	room := store.Reveal()[:0]
	for _, pair := range fresh {
		var patterns []pattern
		patterns, room = patternsOf(room, pair.Secret.Reveal(), []byte(pair.Placeholder))
		next.patterns = append(next.patterns, patterns...)
	}
	if len(next.patterns)-next.inherited() > maxPatterns {
		store.Wipe()
		return nil, errors.New("too many credentials")
	}
	next.index(len(t.patterns))
	return next, nil
}

// index takes the patterns from number first on into starts and filter.
func (t *table) index(first int) {
	for i := first; i < len(t.patterns); i++ {
		p := &t.patterns[i]
		for _, c := range p.chars(0) {
			t.starts[c] = append(slices.Clip(t.starts[c]), uint16(i))
		}
		t.filter.add(p)
	}
	t.filter.finish()
}

// knows reports whether value is among what is looked for.
func (t *table) knows(value []byte) bool {
	return slices.ContainsFunc(t.patterns, func(p pattern) bool {
		return p.kind == asOctets && bytes.Equal(p.values, value)
	})
}

// maxPatterns is what an index of 16 bits reaches, of a Scrubber and its parent
// half each: some 4,000 credentials.
const maxPatterns = 1 << 15

// Wipe overwrites the copies, but for those of a parent. No stream may use the
// Scrubber any more.
func (s *Scrubber) Wipe() {
	t := s.current.Load()
	if t == nil {
		return
	}
	for _, store := range t.stores {
		store.Wipe()
	}
}

// Bytes appends src, a whole text, to dst with the placeholders in it.
func (s *Scrubber) Bytes(dst, src []byte) []byte {
	from := len(dst)
	dst = append(dst, src...)
	s.scan(dst[from:], true)
	return dst
}

// scan replaces what it finds in buf and returns how much of buf is done with.
// The rest begins a pattern and wants more bytes behind it; with last there is
// no rest.
func (s *Scrubber) scan(buf []byte, last bool) (done int) {
	t := s.table()
	if len(t.patterns) == 0 {
		return len(buf)
	}
	search := search{table: t, buf: buf, last: last}
	for {
		hit := search.next()
		switch {
		case hit.more:
			return hit.start
		case hit.pattern == nil:
			return len(buf)
		}
		hit.pattern.replace(buf[hit.start:hit.end])
	}
}
