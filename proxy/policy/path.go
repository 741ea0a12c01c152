// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"unicode/utf8"
)

// reading is what can be said of a request's path.
type reading int

const (
	plain     reading = iota // one reading: globs judge it
	ambiguous                // two servers may take it for two paths: only "*" admits it
	malformed                // no path at all
)

// readPath decodes an encoded path once. A path without percent signs is
// returned as it is, without allocation. Decoding never changes how many
// segments a plain path has.
//
// Ambiguous is what servers, frameworks and gateways disagree on: an encoded
// slash or backslash, a backslash, an empty segment before the last, a dot
// segment in any spelling (also with a ";parameter", which Java servers strip
// first: CVE-2021-41773 and CVE-2020-5902 are of this family), a control
// character, invalid UTF-8 (overlong forms), and what is still percent-encoded
// after decoding.
func readPath(raw string) (path string, r reading) {
	if raw == "" || raw[0] != '/' {
		return "", malformed
	}
	escaped := false
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c >= 0x7f || c == '#' || c == '?':
			return "", malformed
		case c == '%':
			escaped = true
		}
	}
	if !escaped {
		return raw, judgePath(raw)
	}
	path, ok := decode(raw)
	if !ok {
		return "", malformed
	}
	if strings.Count(path, "/") != strings.Count(raw, "/") || hasEscape(path) || !utf8.ValidString(path) {
		return path, ambiguous
	}
	return path, judgePath(path)
}

func judgePath(path string) reading {
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return ambiguous
		}
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		name, _, _ := strings.Cut(segment, ";")
		if segment == "" && more || name == "." || name == ".." {
			return ambiguous
		}
	}
	return plain
}

// decode undoes percent-encoding, strictly.
func decode(raw string) (string, bool) {
	if !strings.Contains(raw, "%") {
		return raw, true
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return "", false
			}
			high, low := nibble(raw[i+1]), nibble(raw[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			c = byte(high<<4 | low)
			i += 2
		}
		out = append(out, c)
	}
	return string(out), true
}

// hasEscape reports whether a second decoding would change path.
func hasEscape(path string) bool {
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && nibble(path[i+1]) >= 0 && nibble(path[i+2]) >= 0 {
			return true
		}
	}
	return false
}

func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
