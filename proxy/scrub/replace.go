// SPDX-License-Identifier: Apache-2.0

package scrub

import "bytes"

// style is what a match shows of how its text is written.
type style struct {
	upper bool   // hexadecimal digits
	base  string // base64 alphabet
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
			to += write(span[to:], span[from:from+width], c, p.char(at, c, s))
			at++
		}
		from += width
	}
	for ; to < len(span); to++ {
		span[to] = ' '
	}
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
func write(dst, unit []byte, old, c byte) int {
	n := len(unit)
	switch {
	case n == 1:
		dst[0] = c
		return 1
	case c == old:
		return copy(dst, unit)
	case unit[0] == '%':
		upper := !bytes.ContainsAny(unit, "abcdef")
		copy(dst, unit)
		writeHex(dst[n-2:n], c, upper)
		return n
	case unit[0] == '&':
		return writeEntity(dst, n, c)
	}
	run := bytes.LastIndexByte(unit, '\\') + 1
	if unit[run] != 'u' && unit[run] != 'x' {
		dst[0] = c
		return 1
	}
	upper := bytes.ContainsAny(unit[run+1:], "ABCDEF")
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
func writeEntity(dst []byte, n int, c byte) int {
	switch {
	case n >= len("&#x41;"):
		copy(dst, "&#x")
		for i := len("&#x"); i < n-3; i++ {
			dst[i] = '0'
		}
		writeHex(dst[n-3:n-1], c, false)
	case n == len("&#65;") && c >= 10 && c < 100:
		copy(dst, "&#")
		dst[2], dst[3] = '0'+c/10, '0'+c%10
	default:
		dst[0] = c
		return 1
	}
	dst[n-1] = ';'
	return n
}
