// SPDX-License-Identifier: Apache-2.0

package scrub

import "bytes"

// style is what a match shows of how its text is written.
type style struct {
	upper        bool   // a hexadecimal pattern
	base         string // base64 alphabet
	small, great bool   // letters among the digits of escapes
}

// styleOf looks through a match.
func (p *pattern) styleOf(span []byte) style {
	s := style{base: base64Std}
	for i := 0; i < len(span); {
		c, width, _ := p.reading.unit(span[i:])
		if c == '-' || c == '_' {
			s.base = base64URL
		}
		s.upper = s.upper || c >= 'A' && c <= 'F'
		if width > 2 {
			digits := span[i+2 : i+width]
			s.small = s.small || bytes.ContainsAny(digits, "abcdef")
			s.great = s.great || bytes.ContainsAny(digits, "ABCDEF")
		}
		i += width
	}
	return s
}

// replace overwrites span, a match, with the placeholder in the same encoding.
func (p *pattern) replace(span []byte) {
	s := p.styleOf(span)
	from, to := 0, 0
	for at := 0; from < len(span); {
		c, width, _ := p.reading.unit(span[from:])
		if p.kind == asBase64 && p.table[c] == invalid { // a line break
			to += copy(span[to:], span[from:from+width])
		} else {
			to += s.write(span[to:], span[from:from+width], c, p.char(at, c, s))
			at++
		}
		from += width
	}
	for ; to < len(span); to++ {
		span[to] = ' '
	}
}

// keeps reports whether src, which begins p and has no escape, would be replaced
// by itself, whatever follows. A letter of hexadecimal depends on the case of
// the others, the last two digits of base64 on the alphabet.
func (p *pattern) keeps(src []byte) bool {
	at := 0
	for _, c := range src {
		v := p.table[c]
		if p.kind == asBase64 && v == invalid { // a line break
			continue
		}
		if v&^p.mask(at)|p.fill[at] != v || p.kind == asHex && v > 9 || p.kind == asBase64 && v > 61 {
			return false
		}
		at++
	}
	return true
}

// char is the placeholder's character at position i, where c is the
// credential's.
func (p *pattern) char(i int, c byte, s style) byte {
	switch {
	case p.kind == asOctets:
		return p.fill[i]
	case p.kind == asBase64:
		return s.base[p.table[c]&^p.mask(i)|p.fill[i]]
	case s.upper:
		return hexUpper[p.fill[i]]
	}
	return hexLower[p.fill[i]]
}

// write puts c to the beginning of dst in the form and width of unit, which
// stands for old, and returns the width: 1 where the form has no other
// characters. unit and dst may overlap, dst not behind unit.
func (s style) write(dst, unit []byte, old, c byte) int {
	n := len(unit)
	if n == 1 {
		dst[0] = c
		return 1
	}
	if c == old {
		return copy(dst, unit)
	}
	upper := s.great
	switch unit[0] {
	case '%':
		upper = s.great || !s.small // as RFC 3986 section 2.1 has it
	case '&':
		return s.writeEntity(dst, unit[2]|0x20 == 'x', n, c)
	case '\\':
		if n < len(`\x41`) || unit[n-3] != 'x' && unit[max(n-5, 0)] != 'u' {
			dst[0] = c // a short escape
			return 1
		}
	}
	copy(dst, unit)
	writeHex(dst[n-2:n], c, upper)
	return n
}

func writeHex(dst []byte, c byte, upper bool) {
	digits := hexLower
	if upper {
		digits = hexUpper
	}
	dst[0], dst[1] = digits[c>>4], digits[c&0xf]
}

// writeEntity writes c as a numeric entity of n bytes, where there is one.
func (s style) writeEntity(dst []byte, hex bool, n int, c byte) int {
	number := decimal(c)
	switch room := n - len("&#;"); {
	case hex && room < len("x41"), !hex && room < len(number) && c >= 100, room < len("65"):
		dst[0] = c
		return 1
	case hex:
		copy(dst, "&#x")
		clearDigits(dst[3 : n-3])
		writeHex(dst[n-3:n-1], c, s.great)
	default:
		copy(dst, "&#")
		clearDigits(dst[2 : n-1])
		number = number[max(0, len(number)-room):]
		copy(dst[n-1-len(number):], number)
	}
	dst[n-1] = ';'
	return n
}

func clearDigits(dst []byte) {
	for i := range dst {
		dst[i] = '0'
	}
}
