// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// alphabets that a template's group may draw from. GitHub's checksum counts in
// the order of base62.
var alphabets = map[string]string{
	"digits":    "0123456789",
	"hex":       "0123456789abcdef",
	"lower":     "0123456789abcdefghijklmnopqrstuvwxyz",
	"alpha":     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	"base62":    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	"base64url": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
}

const (
	minEntropy = 128     // bits in every generated placeholder
	crcLength  = 6       // of GitHub's checksum
	maxLength  = 4096    // characters of a placeholder
	anyLength  = -1      // of the group written "*"
	groupCRC   = "crc32" // of the group before it, as GitHub's tokens end
	groupTail  = "tail"  // the same for one user and credential
)

// part of a template: literal text, or a group.
type part struct {
	literal string // when group is ""
	group   string // an alphabet, groupCRC or groupTail
	length  int    // anyLength for "*"
}

// template is a placeholder's shape: text and groups in braces.
//
//	{ALPHABET:N}   N random characters
//	{ALPHABET:*}   as many as the real credential's length leaves; at most one
//	{crc32}        GitHub's checksum over the group before it: CRC-32 (IEEE) in
//	               base62, six digits
//	{tail:N}       N characters of base64url that depend on user and credential
//	               alone; no entropy
type template struct {
	text  string
	parts []part
}

// parseTemplate refuses what could never hold 128 bits, and literal text that
// is not safe in a header, a shell and a URL alike.
func parseTemplate(text string) (*template, error) {
	t := &template{text: text}
	stars := 0
	for rest := text; rest != ""; {
		literal, group, found := strings.Cut(rest, "{")
		if literal != "" {
			if strings.Trim(literal, alphabets["base64url"]+".~+=/:") != "" {
				return nil, errors.New("template: text may hold letters, digits and - _ . ~ + = / : alone")
			}
			t.parts = append(t.parts, part{literal: literal})
		}
		if !found {
			break
		}
		body, after, closed := strings.Cut(group, "}")
		if !closed {
			return nil, errors.New("template: a group is not closed")
		}
		p, err := t.parseGroup(body)
		if err != nil {
			return nil, err
		}
		if p.length == anyLength {
			stars++
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	return t, t.check(stars)
}

func (t *template) parseGroup(body string) (part, error) {
	if body == groupCRC {
		n := len(t.parts)
		if n == 0 || alphabets[t.parts[n-1].group] == "" {
			return part{}, errors.New("template: crc32 wants a random group in front")
		}
		return part{group: groupCRC, length: crcLength}, nil
	}
	name, count, _ := strings.Cut(body, ":")
	if alphabets[name] == "" && name != groupTail {
		return part{}, errors.New("template: unknown group; known: digits, hex, lower, alpha, base62, base64url, tail, crc32")
	}
	if count == "*" && name != groupTail {
		return part{group: name, length: anyLength}, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxLength || strconv.Itoa(n) != count {
		return part{}, fmt.Errorf("template: a group's length is 1 to %d, or * for a random one", maxLength)
	}
	return part{group: name, length: n}, nil
}

func (t *template) check(stars int) error {
	switch {
	case stars > 1:
		return errors.New("template: more than one group of any length")
	case t.fixed() > maxLength:
		return fmt.Errorf("template: longer than %d characters", maxLength)
	case stars == 0 && t.bits() < minEntropy:
		return fmt.Errorf("template: holds fewer than %d random bits", minEntropy)
	}
	return nil
}

// fixed is the length of everything but the group of any length.
func (t *template) fixed() int {
	n := 0
	for _, p := range t.parts {
		n += len(p.literal) + max(p.length, 0)
	}
	return n
}

// bits is the entropy of the groups of a fixed length.
func (t *template) bits() float64 {
	bits := 0.0
	for _, p := range t.parts {
		if p.length > 0 {
			bits += float64(p.length) * p.density()
		}
	}
	return bits
}

// density is the entropy of one character of a group, in bits.
func (p part) density() float64 {
	if n := len(alphabets[p.group]); n > 0 {
		return math.Log2(float64(n))
	}
	return 0
}

// open is the group of any length, if there is one.
func (t *template) open() (part, bool) {
	for _, p := range t.parts {
		if p.length == anyLength {
			return p, true
		}
	}
	return part{}, false
}

// shortest is the least length that holds 128 random bits.
func (t *template) shortest() int {
	p, ok := t.open()
	if !ok {
		return t.fixed()
	}
	missing := max(0, minEntropy-t.bits())
	return t.fixed() + max(1, int(math.Ceil(missing/p.density())))
}

// fits reports whether the template can be exactly length long.
func (t *template) fits(length int) bool {
	if _, ok := t.open(); !ok {
		return length == t.fixed()
	}
	return length >= t.shortest() && length <= maxLength
}
