// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// json judges the values that the declared pointers lead to.
func (j *judgement) json() error {
	text := j.request.Content
	if len(bytes.TrimLeft(text, " \t\r\n")) == 0 {
		return nil
	}
	if !json.Valid(text) {
		return ErrMalformed
	}
	for _, pointer := range j.names(policy.PositionJSON) {
		w := walker{text: text}
		at, found, err := w.follow(pointer)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := j.value(pointer, at); err != nil {
			return err
		}
	}
	return nil
}

// value judges what stands at the end of a pointer. Nothing and the empty text
// are no credential.
func (j *judgement) value(pointer string, at span) error {
	text := j.request.Content[at.start:at.end]
	if string(text) == "null" || string(text) == `""` {
		return nil
	}
	found := false
	if text[0] == '"' {
		inner := string(text[1 : len(text)-1])
		var err error
		found, err = j.declared(policy.PositionJSON, func(c *Credential, p policy.Position) (place, bool) {
			ok := p.Name == pointer && (same(inner, c.Placeholder) || same(inner, strings.ReplaceAll(c.Placeholder, "/", `\/`)))
			return place{span: span{at.start + 1, at.end - 1}}, ok
		})
		if err != nil {
			return err
		}
	}
	j.finding.Foreign = j.finding.Foreign || !found
	return nil
}

// walker goes through valid JSON.
type walker struct {
	text []byte
	at   int
}

// follow goes where an RFC 6901 pointer leads. An object on the way that has
// the pointer's key twice is refused, and so is one that has it in another case
// too: servers differ on which they take.
func (w *walker) follow(pointer string) (value span, found bool, err error) {
	w.space()
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch w.text[w.at] {
		case '{':
			found, err = w.member(token)
		case '[':
			found = w.element(token)
		default:
			found = false
		}
		if err != nil || !found {
			return span{}, false, err
		}
	}
	start := w.at
	w.skip()
	return span{start, w.at}, true, nil
}

// member goes to the value under key of the object that w is at.
func (w *walker) member(key string) (found bool, err error) {
	value, count := 0, 0
	for w.enter('}') {
		name := w.name()
		if strings.EqualFold(name, key) {
			count++
		}
		w.space()
		w.at++ // the colon
		w.space()
		if name == key {
			value, found = w.at, true
		}
		w.skip()
	}
	if count > 1 {
		return false, ErrDuplicate
	}
	w.at = value
	return found, nil
}

// element goes to the array's value of that index.
func (w *walker) element(token string) bool {
	index, err := strconv.Atoi(token)
	if err != nil || strconv.Itoa(index) != token {
		return false
	}
	for ; w.enter(']'); index-- {
		if index == 0 {
			return true
		}
		w.skip()
	}
	return false
}

// enter goes past the bracket or comma that w is at, to the next value, or past
// the end.
func (w *walker) enter(end byte) bool {
	w.space()
	if w.text[w.at] == end {
		return false
	}
	w.at++ // the opening bracket, or a comma
	w.space()
	return w.text[w.at] != end
}

// name reads the key that w is at.
func (w *walker) name() string {
	start := w.at
	w.skip()
	var name string
	if err := json.Unmarshal(w.text[start:w.at], &name); err != nil { // it is valid
		return string(w.text[start:w.at])
	}
	return name
}

// skip goes past the value that w is at.
func (w *walker) skip() {
	for depth := 0; w.at < len(w.text); {
		switch c := w.text[w.at]; c {
		case '"':
			w.skipText()
		case '{', '[':
			depth++
			w.at++
		case '}', ']':
			depth--
			w.at++
		case ' ', '\t', '\r', '\n', ',', ':':
			w.at++
			continue
		default:
			w.skipScalar()
		}
		if depth == 0 {
			return
		}
	}
}

func (w *walker) skipText() {
	for w.at++; ; {
		w.at += bytes.IndexByte(w.text[w.at:], '"') + 1
		slashes := 0
		for w.text[w.at-2-slashes] == '\\' { // the opening quote ends this at the latest
			slashes++
		}
		if slashes%2 == 0 {
			return
		}
	}
}

func (w *walker) skipScalar() {
	for w.at < len(w.text) && !isSpace(w.text[w.at]) && strings.IndexByte(",:]}", w.text[w.at]) < 0 {
		w.at++
	}
}

func (w *walker) space() {
	for w.at < len(w.text) && isSpace(w.text[w.at]) {
		w.at++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
