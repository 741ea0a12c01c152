// SPDX-License-Identifier: Apache-2.0

package scrub

// kind is how a pattern writes the bytes of its credential.
type kind uint8

const (
	asOctets kind = iota
	asHex
	asBase64
)

// pattern is one encoding of one credential: a row of values that characters
// have under a table. It is matched against units, so that each character may
// be escaped.
type pattern struct {
	kind    kind
	reading reading
	table   *[256]byte
	values  []byte // in locked memory
	fill    []byte // the placeholder's values
	// The bits of the first and the last value that are the credential's: in
	// base64 the others belong to its neighbours.
	head, tail byte
}

// patternsOf makes all patterns of one credential. Their values are appended to
// store, which has the room.
func patternsOf(store, value, placeholder []byte) (patterns []pattern, rest []byte) {
	fill := fitted(placeholder, len(value))
	keep := func(add func(dst []byte) []byte) []byte {
		from := len(store)
		store = add(store)
		return store[from:len(store):len(store)]
	}
	raw := keep(func(dst []byte) []byte { return append(dst, value...) })
	for _, r := range readingsOf(value) {
		patterns = append(patterns, pattern{asOctets, r, octets, raw, fill, 0xff, 0xff})
	}
	hex := keep(func(dst []byte) []byte { return nibblesOf(dst, value) })
	patterns = append(patterns, pattern{asHex, deepest, nibbles, hex, nibblesOf(nil, fill), 0xff, 0xff})
	for alignment := range 3 {
		p := pattern{kind: asBase64, reading: deepest, table: sextets}
		p.values = keep(func(dst []byte) []byte {
			dst, p.head, p.tail = sextetsOf(dst, value, alignment)
			return dst
		})
		p.fill, _, _ = sextetsOf(nil, fill, alignment)
		patterns = append(patterns, p)
		if p.head != 0xff { // text that was cut right before the credential
			p.values, p.fill, p.head = p.values[1:], p.fill[1:], 0xff
			patterns = append(patterns, p)
		}
	}
	return patterns, store
}

// storeSize is how many values patternsOf appends for a credential of n bytes,
// at most.
func storeSize(n int) int { return n + 2*n + 3*((8*(n+2)+5)/6) }

// fitted returns placeholder in exactly n bytes.
func fitted(placeholder []byte, n int) []byte {
	out := make([]byte, 0, n)
	out = append(out, placeholder[:min(n, len(placeholder))]...)
	for len(out) < n {
		out = append(out, '*')
	}
	return out
}

func nibblesOf(dst, text []byte) []byte {
	for _, c := range text {
		dst = append(dst, c>>4, c&0xf)
	}
	return dst
}

// readingsOf returns the readings under which value can be found: the deepest
// one, and where value has an escape character itself also the shallower ones.
func readingsOf(value []byte) (readings []reading) {
	percents, backslashes, entities := []uint8{2}, []uint8{2}, []uint8{1}
	for _, c := range value {
		switch c {
		case '%':
			percents = []uint8{2, 1, 0}
		case '\\':
			backslashes = []uint8{1, 0}
		case '&':
			entities = []uint8{1, 0}
		}
	}
	for _, p := range percents {
		for _, b := range backslashes {
			for _, e := range entities {
				readings = append(readings, reading{p, b, e})
			}
		}
	}
	return readings
}

// takes reports whether c may stand at position i of the pattern.
func (p *pattern) takes(i int, c byte) bool {
	v := p.table[c]
	return v == p.values[i] || (i == 0 || i == len(p.values)-1) && v&p.mask(i) == p.values[i]
}

// chars are the characters that may stand at position i.
func (p *pattern) chars(i int) (chars []byte) {
	for c := range 256 {
		if p.takes(i, byte(c)) {
			chars = append(chars, byte(c))
		}
	}
	return chars
}

func (p *pattern) mask(i int) byte {
	switch i {
	case 0:
		return p.head
	case len(p.values) - 1:
		return p.tail
	}
	return 0xff
}

// wrap is the place inside a line break between two base64 digits: CRLF or LF,
// and up to maxIndent blanks.
type wrap uint8

const (
	unwrapped wrap = iota
	afterCR
	afterLF // and afterLF+n blanks

	maxIndent = 8
)

// next steps over c, or reports that it is not part of a line break.
func (w *wrap) next(c byte) bool {
	switch {
	case c == '\r' && *w == unwrapped:
		*w = afterCR
	case c == '\n' && *w <= afterCR:
		*w = afterLF
	case (c == ' ' || c == '\t') && *w >= afterLF && *w < afterLF+maxIndent:
		*w++
	default:
		return false
	}
	return true
}

// match finds the longest match that begins with src. end is its width, or 0.
// With more, a longer one may come when src does, which it does not at the end
// of a stream.
func (p *pattern) match(src []byte, last bool) (end int, more bool) {
	var w wrap
	at := 0
	for i := 0; i < len(src); {
		c, width, partial := src[i], 1, false
		if escapes[c] {
			c, width, partial = p.reading.unit(src[i:])
		}
		if partial && !last { // an escape, or what a shallower reading takes literally
			return end, p.may(at, w, src[i:]) || p.takes(at, c)
		}
		switch {
		case w != afterCR && p.takes(at, c):
			at, w, i = at+1, unwrapped, i+width
		case p.kind == asBase64 && at > 0 && w.next(c):
			i += width
			continue
		default:
			return end, false
		}
		if at == len(p.values) {
			return i, false
		}
		if p.tail != 0xff && at == len(p.values)-1 {
			end = i // text that was cut before the last digit, which has few bits of the credential
		}
	}
	return end, !last
}

// may reports whether src, an escape that is not complete, can become a
// character that goes on with the pattern.
func (p *pattern) may(at int, w wrap, src []byte) bool {
	for c := range 256 {
		c, v := byte(c), w
		fits := w != afterCR && p.takes(at, c) || p.kind == asBase64 && at > 0 && v.next(c)
		if fits && p.reading.begins(src, c) {
			return true
		}
	}
	return false
}
