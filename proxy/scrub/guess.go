// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// That the end of a stream is held back tells that a credential begins so: an
// agent that has an upstream say a guess, and pause, has it confirmed. What is said
// next does not complete the credential then, which other text that is held back
// does. See the package for what follows from it.
const (
	// deep is how many characters a guess has at least, in the encoding at hand,
	// behind those that are the placeholder's too. Other text that pauses does so
	// behind as many once in 16^6 times where it is hexadecimal, else in 62^6.
	deep = 6
	// maxGuesses is how many tell something: as few as there can be when one alone
	// may be other text, such as another JWT of the same issuer that a read cut.
	// Each confirms as many characters as the agent has the time to try together;
	// four are 62^4, 15 million.
	maxGuesses = 2
)

// guesses are those of one session.
type guesses struct {
	open atomic.Int32 // less those that became the credential
	wary atomic.Bool  // there were too many
	told func()       // called once, when it becomes wary; nil: nobody is told
}

// note counts a guess before it is known what becomes of it: who keeps one open
// is not to go on with the next.
func (g *guesses) note() {
	if g.open.Add(1) >= maxGuesses && g.wary.CompareAndSwap(false, true) && g.told != nil {
		g.told()
	}
}

// hold is called where a stream goes on: what is not ready now is held back.
func (w *window) hold(s *Scrubber) {
	if len(w.guess) == 0 {
		if w.guess = s.guessed(w.buf[w.ready:w.end]); len(w.guess) > 0 {
			s.guesses.note()
		}
	}
	if s.guesses.wary.Load() {
		w.tail, w.seen = s.table().tail(w.buf[:w.end], w.tail, w.seen), w.end
		w.limit = max(w.start, w.tail)
	}
}

// settle finds what became of a guess, which held begins with. Only what it could
// become when it was counted takes it back: an agent that has values captured
// chooses some of what is looked for, to be completed behind any guess.
func (w *window) settle(s *Scrubber, held []byte, last bool) {
	became := false
	w.guess = slices.DeleteFunc(w.guess, func(p *pattern) bool {
		end, more := p.match(held, last)
		became = became || end > 0 && !more
		return !more
	})
	if became && len(w.guess) == 0 {
		s.guesses.open.Add(-1)
	}
}

// guessed returns the patterns of which held, which is held back, is a guess.
func (s *Scrubber) guessed(held []byte) (of []*pattern) {
	if len(held) < deep {
		return nil
	}
	t := s.table()
	for i := range t.patterns {
		p := &t.patterns[i]
		if _, more := p.match(held, false); more && p.beyond(held) >= deep {
			of = append(of, p)
		}
	}
	return of
}

// beyond is how many characters of p src has, which begins it, behind those that
// are the placeholder's too. An escape that is not complete is one: its digits may
// tell the character.
func (p *pattern) beyond(src []byte) int {
	at, alike := 0, 0
	for len(src) > 0 {
		c, width, partial := p.reading.unit(src)
		if partial {
			return at + 1 - alike
		}
		src = src[width:]
		if p.kind == asBase64 && p.table[c] == invalid { // a line break
			continue
		}
		if at == alike && p.values[at] == p.fill[at] {
			alike++
		}
		at++
	}
	return at - alike
}

// tail returns where the end of buf begins that may be part of a credential,
// whichever that is: nothing stands there that no form has. from is what it
// returned for the first seen bytes.
func (f *filter) tail(buf []byte, from, seen int) int {
	for i, c := range buf[seen:] {
		if !f.written[c] || c == '\n' && blankLine(buf[:seen+i+1]) {
			from = seen + i + 1
		}
	}
	from = max(from, len(buf)-f.longest)
	for from < len(buf) && breaks[buf[from]] { // none begins with one
		from++
	}
	return from
}

// breaks are what stands between the digits of base64, one line break at a time.
var breaks = [256]bool{'\r': true, '\n': true, ' ': true, '\t': true}

func blankLine(buf []byte) bool {
	return bytes.HasSuffix(buf, []byte("\n\n")) || bytes.HasSuffix(buf, []byte("\n\r\n"))
}

// addForm adds p to what tail goes by.
func (f *filter) addForm(p *pattern) {
	for _, c := range []byte(base64Std + "-_%\\&#;\r\n \t") {
		f.written[c] = true
	}
	width := maxUnit
	switch p.kind {
	case asOctets:
		for _, c := range p.values {
			f.written[c] = true
		}
	case asBase64:
		width *= len("A\r\n") + maxIndent
	}
	f.longest = max(f.longest, len(p.values)*width)
}
