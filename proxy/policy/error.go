// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"unicode"
)

// ParseError is what is wrong with one place of a policy file. Message is made
// of this package's own words and quotes nothing of the file, so that it can be
// shown to someone who may not read the file; Excerpt is the offending line,
// for someone who may.
type ParseError struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
	Excerpt string // one printable line, cut; may be empty
}

// Error is "file:line:column: message", without the excerpt.
func (e *ParseError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// maxExcerpt limits an excerpt, in characters.
const maxExcerpt = 160

// excerpt returns line number n of data with what a terminal would act upon
// replaced.
func excerpt(data []byte, n int) string {
	for line := range strings.SplitSeq(string(data), "\n") {
		if n--; n > 0 {
			continue
		}
		runes := []rune(strings.TrimRight(line, "\r"))
		if len(runes) > maxExcerpt {
			runes = append(runes[:maxExcerpt], '…')
		}
		return strings.Map(func(c rune) rune {
			if c == '\t' || !unicode.IsPrint(c) {
				return ' '
			}
			return c
		}, string(runes))
	}
	return ""
}

// ResolveError is a policy that reads well and cannot be acted upon. Hint says
// what to do next, in one line; it may be empty.
type ResolveError struct {
	Rule    string // "file:line" or the flag
	Message string
	Hint    string
}

// Error is "rule: message", without the hint.
func (e *ResolveError) Error() string { return e.Rule + ": " + e.Message }
