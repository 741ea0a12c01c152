// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// MinLength is the fewest bytes a credential may have: what is shorter strikes
// innocent text. The search relies on it, and steps by a window of that width.
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

// Scrubber finds the credentials of one session. It is never written after
// [New] and safe for any number of streams.
type Scrubber struct {
	store    secret.Value // the values of all patterns
	patterns []pattern
	starts   [256][]uint16 // patterns by their first character
	filter
}

// New makes a Scrubber. It keeps a copy of each credential, in locked memory;
// see [Scrubber.Wipe]. Each has to pass [secret.Check]. Without pairs a
// Scrubber finds nothing.
func New(pairs []Pair) (*Scrubber, error) {
	s := &Scrubber{}
	if err := s.load(pairs); err != nil {
		return nil, fmt.Errorf("make scrubber: %w", err)
	}
	for i := range s.patterns {
		p := &s.patterns[i]
		for _, c := range p.chars(0) {
			s.starts[c] = append(s.starts[c], uint16(i))
		}
		s.filter.add(p)
	}
	s.filter.finish()
	return s, nil
}

// load makes the patterns.
func (s *Scrubber) load(pairs []Pair) error {
	size := 0
	for i, pair := range pairs {
		if err := pair.check(); err != nil {
			return fmt.Errorf("pair %d: %w", i, err)
		}
		size += storeSize(pair.Secret.Len())
	}
	var err error
	if s.store, err = secret.New(make([]byte, size)); err != nil {
		return err
	}
	room := s.store.Reveal()[:0]
	for _, pair := range pairs {
		var patterns []pattern
		patterns, room = patternsOf(room, pair.Secret.Reveal(), []byte(pair.Placeholder))
		s.patterns = append(s.patterns, patterns...)
	}
	if len(s.patterns) > maxPatterns {
		s.Wipe()
		return errors.New("too many credentials")
	}
	return nil
}

// maxPatterns is what an index of 16 bits reaches: some 8,000 credentials.
const maxPatterns = 1 << 16

// Wipe overwrites the copies. No stream may use the Scrubber any more.
func (s *Scrubber) Wipe() { s.store.Wipe() }

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
	if len(s.patterns) == 0 {
		return len(buf)
	}
	search := search{Scrubber: s, buf: buf, last: last}
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
