// SPDX-License-Identifier: Apache-2.0

package scrub

import "strings"

// reading says how deep each kind of escape is undone. Most credentials have
// none of the three escape characters and are found by the deepest reading
// alone; one that holds a percent sign itself must also be found where the sign
// is meant literally.
type reading struct {
	percent   uint8 // 0 not, 1 once, 2 nested: %41, %2541, %252541
	backslash uint8 // 0 not, 1 once, 2 nested: \u0041, \\u0041, \\\\\\\u0041
	entity    uint8 // 0 not, 1 once
}

var deepest = reading{2, 2, 1}

const (
	maxPercent   = 2 // times "25" may stand in a nested %41
	maxBackslash = 7 // JSON in JSON in JSON
	maxDigits    = 7 // of a numeric entity, zeros in front included
	maxUnit      = maxBackslash + len("u0041")
)

// escapes are the bytes that a unit of more than one byte begins with.
var escapes = [256]bool{'%': true, '\\': true, '&': true}

// unit returns the character that src, which is not empty, begins with, and its
// width. With partial, src ends inside what may become an escape.
func (r reading) unit(src []byte) (c byte, width int, partial bool) {
	switch {
	case src[0] == '%' && r.percent > 0:
		return r.percentUnit(src)
	case src[0] == '\\' && r.backslash > 0:
		return r.backslashUnit(src)
	case src[0] == '&' && r.entity > 0:
		return entityUnit(src)
	}
	return src[0], 1, false
}

func (r reading) percentUnit(src []byte) (byte, int, bool) {
	levels := 0
	if r.percent > 1 && len(src) > 1 && src[1] == '2' {
		levels = maxPercent
	}
	i := 1
	for ; levels > 0; levels-- {
		// "%25" alone is no character of a credential that is read this way.
		if len(src) < i+2 || src[i] != '2' || src[i+1] != '5' {
			break
		}
		i += 2
	}
	return literalUnless(src, i, 2)
}

// literalUnless reads digits hexadecimal digits at src[i:], or takes the first
// byte for itself.
func literalUnless(src []byte, i, digits int) (c byte, width int, partial bool) {
	value := 0
	for end := i + digits; i < end; i++ {
		if i == len(src) {
			return src[0], 1, true
		}
		digit := nibbles[src[i]]
		if digit == invalid {
			return src[0], 1, false
		}
		value = value<<4 | int(digit)
	}
	if value > 0xff {
		return src[0], 1, false
	}
	return byte(value), i, false
}

// shortEscapes are those of JSON, and the quote of JavaScript.
var shortEscapes = [256]byte{
	'/': '/', '"': '"', '\'': '\'',
	'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (r reading) backslashUnit(src []byte) (byte, int, bool) {
	run := 1
	for run < len(src) && run <= maxBackslash && src[run] == '\\' {
		if r.backslash == 1 {
			return '\\', 2, false
		}
		run++
	}
	switch {
	case run > maxBackslash:
		return '\\', 1, false
	case run == len(src):
		return '\\', 1, true
	case src[run] == 'u':
		return literalUnless(src, run+1, 4)
	case src[run] == 'x':
		return literalUnless(src, run+1, 2)
	case shortEscapes[src[run]] != 0:
		return shortEscapes[src[run]], run + 1, false
	}
	return '\\', 1, false
}

var entityNames = []struct {
	name string
	c    byte
}{{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}}

func entityUnit(src []byte) (byte, int, bool) {
	if len(src) == 1 {
		return '&', 1, true
	}
	if src[1] == '#' {
		return numericUnit(src)
	}
	partial := false
	for _, e := range entityNames {
		n := min(len(e.name), len(src)-1)
		if string(src[1:1+n]) != e.name[:n] {
			continue
		}
		if n == len(e.name) {
			return e.c, 1 + n, false
		}
		partial = true
	}
	return '&', 1, partial
}

func numericUnit(src []byte) (byte, int, bool) {
	i, base := 2, 10
	if len(src) > 2 && src[2]|0x20 == 'x' {
		i, base = 3, 16
	}
	value, first := 0, i
	for ; i < len(src); i++ {
		digit := int(nibbles[src[i]])
		if src[i] == ';' && i > first && value <= 0xff {
			return byte(value), i + 1, false
		}
		if digit >= base || i-first == maxDigits {
			return '&', 1, false
		}
		value = value*base + digit
	}
	return '&', 1, true
}

// begins reports whether src, for which unit said partial, can become an escape
// of c.
func (r reading) begins(src []byte, c byte) bool {
	digits := [2]byte{hexLower[c>>4], hexLower[c&0xf]}
	switch src[0] {
	case '%':
		return r.beginsPercent(src[1:], digits[:])
	case '\\':
		rest := src[1:]
		for len(rest) > 0 && rest[0] == '\\' {
			rest = rest[1:]
		}
		return len(rest) == 0 ||
			rest[0] == 'u' && prefixFold("u00"+string(digits[:]), rest) ||
			rest[0] == 'x' && prefixFold("x"+string(digits[:]), rest)
	}
	return beginsEntity(src[1:], c, digits[:])
}

func (r reading) beginsPercent(rest, digits []byte) bool {
	for level := 0; level <= maxPercent; level++ {
		if level > 0 && r.percent < 2 {
			break
		}
		if prefixFold(strings.Repeat("25", level)+string(digits), rest) {
			return true
		}
	}
	return false
}

func beginsEntity(rest []byte, c byte, hex []byte) bool {
	for _, e := range entityNames {
		if e.c == c && strings.HasPrefix(e.name, string(rest)) {
			return true
		}
	}
	if len(rest) == 0 {
		return true
	}
	if rest[0] != '#' || len(rest) == 1 {
		return rest[0] == '#'
	}
	digits, wanted := rest[1:], decimal(c)
	if digits[0]|0x20 == 'x' {
		digits, wanted = digits[1:], string(hex)
	}
	wanted = strings.TrimLeft(wanted, "0")
	zeros := 0
	for len(digits) > 0 && digits[0] == '0' {
		digits, zeros = digits[1:], zeros+1
	}
	return prefixFold(wanted, digits) && zeros+len(wanted) <= maxDigits
}

// prefixFold reports whether text, which is in lower case, begins with prefix
// in any case.
func prefixFold(text string, prefix []byte) bool {
	return len(prefix) <= len(text) && strings.EqualFold(text[:len(prefix)], string(prefix))
}

func decimal(c byte) string {
	return string([]byte{'0' + c/100, '0' + c/10%10, '0' + c%10})
}
