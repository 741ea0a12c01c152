// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// The reference: every spelling of every character written out, every place of
// the whole body tried. It shares no code with the package.

// spellings lists the ways to write c.
func spellings(c byte) (all []string) {
	all = append(all, string([]byte{c}))
	digits := cases(fmt.Sprintf("%02x", c))
	for _, d := range digits {
		for _, nested := range []string{"", "25", "2525"} {
			all = append(all, "%"+nested+d)
		}
		for run := 1; run <= 7; run++ {
			slashes := strings.Repeat(`\`, run)
			all = append(all, slashes+"u00"+d, slashes+"x"+d)
		}
		for zeros := 0; zeros+len(strings.TrimLeft(d, "0")) <= 7; zeros++ {
			number := strings.Repeat("0", zeros) + strings.TrimLeft(d, "0") + ";"
			all = append(all, "&#x"+number, "&#X"+number)
		}
	}
	for zeros := 0; zeros+len(fmt.Sprint(c)) <= 7; zeros++ {
		all = append(all, "&#"+strings.Repeat("0", zeros)+fmt.Sprint(c)+";")
	}
	if short := map[byte]string{'/': "/", '"': `"`, '\'': "'", '\n': "n", '\r': "r", '\t': "t"}[c]; short != "" {
		for run := 1; run <= 7; run++ {
			all = append(all, strings.Repeat(`\`, run)+short)
		}
	}
	if name := map[byte]string{'<': "lt", '>': "gt", '"': "quot", '\'': "apos"}[c]; name != "" {
		all = append(all, "&"+name+";")
	}
	return all
}

// cases lists a two-digit number in every case.
func cases(digits string) (all []string) {
	for _, a := range []string{digits[:1], strings.ToUpper(digits[:1])} {
		for _, b := range []string{digits[1:], strings.ToUpper(digits[1:])} {
			all = append(all, a+b)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

var spelled = func() (table [256][]string) {
	for c := range table {
		table[c] = spellings(byte(c))
	}
	return table
}()

// form is one encoding of a credential: the characters that each place admits.
type form struct {
	places [][]byte
	wraps  bool // line breaks between places
	cut    bool // the last place may be missing
}

func formsOf(text string) (forms []form) {
	raw := form{}
	for _, c := range []byte(text) {
		raw.places = append(raw.places, []byte{c})
	}
	digits := form{}
	for _, c := range hex.EncodeToString([]byte(text)) {
		digits.places = append(digits.places, slices.Compact([]byte(string(c)+strings.ToUpper(string(c)))))
	}
	forms = append(forms, raw, digits)
	for alignment := range 3 {
		f := base64Form(text, alignment)
		forms = append(forms, f)
		if alignment > 0 {
			f.places = f.places[1:]
			forms = append(forms, f)
		}
	}
	return forms
}

// base64Form encodes text between all neighbours and collects what the places
// that depend on it hold.
func base64Form(text string, alignment int) form {
	f := form{wraps: true, cut: (alignment+len(text))%3 != 0}
	first := 8 * alignment / 6
	f.places = make([][]byte, (8*(alignment+len(text))+5)/6-first)
	for neighbour := range 256 {
		before, after := make([]byte, alignment), []byte{byte(neighbour), 0, 0}
		if alignment > 0 {
			before[alignment-1] = byte(neighbour)
		}
		blob := base64.StdEncoding.EncodeToString([]byte(string(before) + text + string(after)))
		for i := range f.places {
			for _, c := range twins(blob[first+i]) {
				if !slices.Contains(f.places[i], c) {
					f.places[i] = append(f.places[i], c)
				}
			}
		}
	}
	return f
}

func twins(c byte) []byte {
	switch c {
	case '+', '-':
		return []byte("+-")
	case '/', '_':
		return []byte("/_")
	}
	return []byte{c}
}

// find returns where the longest match at the beginning of src ends, or 0, and
// whether src as a whole begins a longer one.
func (f form) find(src string) (end int, more bool) {
	var walk func(place, i, break_ int)
	walk = func(place, i, break_ int) {
		if place == len(f.places) || f.cut && place == len(f.places)-1 && break_ == 0 {
			end = max(end, i)
		}
		if place == len(f.places) {
			return
		}
		if i == len(src) {
			more = more || i > 0
			return
		}
		step := func(c byte, then func(i int)) {
			if src[i] != '%' && src[i] != '\\' && src[i] != '&' && src[i] != c {
				return // all other spellings begin with one of these
			}
			for _, s := range spelled[c] {
				if strings.HasPrefix(src[i:], s) {
					then(i + len(s))
				} else if strings.HasPrefix(s, src[i:]) {
					more = true
				}
			}
		}
		if break_ != 1 {
			for _, c := range f.places[place] {
				step(c, func(i int) { walk(place+1, i, 0) })
			}
		}
		if !f.wraps || place == 0 {
			return
		}
		if break_ == 0 {
			step('\r', func(i int) { walk(place, i, 1) })
		}
		if break_ <= 1 {
			step('\n', func(i int) { walk(place, i, 2) })
		}
		if break_ >= 2 && break_ < 10 {
			step(' ', func(i int) { walk(place, i, break_+1) })
			step('\t', func(i int) { walk(place, i, break_+1) })
		}
	}
	walk(0, 0, 0)
	return end, more
}

// reference is what the scrubber must find.
type reference struct {
	forms        [][]form // of each credential
	placeholders [][]form
}

func newReference(pairs ...[2]string) (r reference) {
	for _, p := range pairs {
		r.forms = append(r.forms, formsOf(p[0]))
		r.placeholders = append(r.placeholders, formsOf(p[1]))
	}
	return r
}

type span struct{ from, to, credential int }

// spans returns all matches of body, each the longest of the leftmost, and what
// has to be held back when body is not the end.
func (r reference) spans(body string) (spans []span, held int) {
	held = -1
	for i := 0; i < len(body); {
		best, more := span{i, i, 0}, false
		for k, forms := range r.forms {
			for _, f := range forms {
				end, m := f.find(body[i:])
				more = more || m
				if i+end > best.to {
					best = span{i, i + end, k}
				}
			}
		}
		switch {
		case more && held < 0:
			held = len(body) - i
		}
		if best.to == i {
			i++
			continue
		}
		spans, i = append(spans, best), best.to
	}
	return spans, max(held, 0)
}

// explain says what is wrong with out as the scrubbed body, or nothing.
func (r reference) explain(body, out string) string {
	if len(out) != len(body) {
		return fmt.Sprintf("%d bytes became %d", len(body), len(out))
	}
	spans, _ := r.spans(body)
	at := 0
	for _, s := range append(spans, span{len(body), len(body), 0}) {
		if out[at:s.from] != body[at:s.from] {
			return fmt.Sprintf("text between %d and %d changed: %q became %q", at, s.from, body[at:s.from], out[at:s.from])
		}
		if s.from < s.to && !r.replaced(out[s.from:s.to], s.credential) {
			return fmt.Sprintf("%q became %q", body[s.from:s.to], out[s.from:s.to])
		}
		at = s.to
	}
	return ""
}

// replaced reports whether text is the placeholder, in any form, and fill.
func (r reference) replaced(text string, credential int) bool {
	for _, f := range r.placeholders[credential] {
		if end, _ := f.find(text); end > 0 && strings.Trim(text[end:], " ") == "" {
			return true
		}
	}
	return false
}
