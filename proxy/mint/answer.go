// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrAnswer is an answer that is not in a form that is read, or not what its
// type says.
var ErrAnswer = errors.New("read answer: not JSON, a form or XML as its type says")

// maxDepth bounds how deep an answer is nested.
const maxDepth = 32

// Field is one text in an answer, wherever in it.
type Field struct {
	Name  string // in lower case, without what is around it
	Value string
	span  span
}

type span struct{ start, end int }

// Answer is what a token endpoint said.
type Answer struct {
	text   []byte
	form   bool
	Fields []Field
	// Other are names, in lower case, whose value is no text: a number, an
	// object, a list.
	Other map[string]string
}

// Read takes an answer apart: JSON (RFC 6749, section 5.1), the form that some
// send in its place, or XML. Which one, its type says; what has no type that is
// known is JSON or refused.
func Read(mediaType string, text []byte) (*Answer, error) {
	a := &Answer{text: text, Other: make(map[string]string)}
	media, parameters, _ := strings.Cut(strings.ToLower(mediaType), ";")
	media = strings.Trim(media, " \t")
	if !utf8.Valid(text) || strings.Contains(parameters, "charset") && !strings.Contains(parameters, "utf-8") && !strings.Contains(parameters, "us-ascii") {
		return nil, ErrAnswer
	}
	var err error
	switch {
	case len(bytes.Trim(text, " \t\r\n")) == 0:
	case media == "application/x-www-form-urlencoded":
		a.form, err = true, a.readForm()
	case media == "text/xml" || media == "application/xml" || strings.HasSuffix(media, "+xml"):
		err = a.readXML()
	default:
		err = a.readJSON()
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// readJSON notes every text under a name, with the quotes around it left out.
func (a *Answer) readJSON() error {
	if !json.Valid(a.text) {
		return ErrAnswer
	}
	d := json.NewDecoder(bytes.NewReader(a.text))
	d.UseNumber()
	var names []string // of the objects that are open; "" for a list
	key := false       // the next token is a name, or the end of an object
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return ErrAnswer
		}
		if key {
			if name, ok := t.(string); ok {
				names[len(names)-1], key = strings.ToLower(name), false
				continue
			}
		}
		switch t := t.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				if len(names) == maxDepth {
					return ErrAnswer
				}
				a.other(names, t.String())
				names = append(names, "")
			} else {
				names = names[:len(names)-1]
			}
		case string:
			end := int(d.InputOffset())
			a.add(names, t, span{a.opening(end), end - 1})
		case json.Number:
			a.other(names, t.String())
		case bool:
			a.other(names, "bool")
		}
		key = a.expectsName(int(d.InputOffset()), names)
	}
}

// expectsName reports whether the token after the one that ends at end is a
// name: the decoder does not say in what it is.
func (a *Answer) expectsName(end int, names []string) bool {
	rest := bytes.TrimLeft(a.text[end:], " \t\r\n")
	if bytes.HasPrefix(rest, []byte(",")) {
		rest = bytes.TrimLeft(rest[1:], " \t\r\n")
	}
	if len(names) == 0 || len(rest) == 0 {
		return false
	}
	if rest[0] == '}' {
		return true
	}
	if rest[0] != '"' {
		return false
	}
	after := bytes.TrimLeft(rest[quoted(rest):], " \t\r\n")
	return len(after) > 0 && after[0] == ':'
}

// quoted is the length of the text that rest begins with, its quotes included.
func quoted(rest []byte) int {
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(rest)
}

// opening is where the text begins whose closing quote is before end.
func (a *Answer) opening(end int) int {
	for i := end - 2; i >= 0; i-- {
		if a.text[i] != '"' {
			continue
		}
		slashes := 0
		for i-1-slashes >= 0 && a.text[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return 0
}

func (a *Answer) add(names []string, value string, at span) {
	if name := innermost(names); name != "" {
		a.Fields = append(a.Fields, Field{name, value, at})
	}
}

func (a *Answer) other(names []string, kind string) {
	if name := innermost(names); name != "" {
		a.Other[name] = kind
	}
}

// innermost is the name that a value stands under: that of the list it is in,
// too.
func innermost(names []string) string {
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] != "" {
			return names[i]
		}
	}
	return ""
}

func (a *Answer) readForm() error {
	text := bytes.TrimRight(a.text, "\r\n")
	for start := 0; start <= len(text); {
		end := start + len(text[start:])
		if i := bytes.IndexByte(text[start:], '&'); i >= 0 {
			end = start + i
		}
		name, value, found := strings.Cut(string(text[start:end]), "=")
		plainName, err1 := url.QueryUnescape(name)
		plain, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || strings.ContainsAny(name+value, " \t\r\n<>{}\"") {
			return ErrAnswer
		}
		if found {
			a.Fields = append(a.Fields, Field{strings.ToLower(plainName), plain, span{end - len(value), end}})
		}
		start = end + 1
	}
	return nil
}

func (a *Answer) readXML() error {
	d := xml.NewDecoder(bytes.NewReader(a.text))
	var names []string
	for {
		start := int(d.InputOffset())
		t, err := d.Token()
		if err == io.EOF && len(names) == 0 {
			return nil
		}
		if err != nil {
			return ErrAnswer
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(names) == maxDepth {
				return ErrAnswer
			}
			names = append(names, strings.ToLower(t.Name.Local))
			for _, attribute := range t.Attr {
				a.Other[strings.ToLower(attribute.Name.Local)] = "attribute"
			}
		case xml.EndElement:
			names = names[:len(names)-1]
		case xml.CharData:
			if len(names) > 0 && len(bytes.Trim(t, " \t\r\n")) > 0 {
				at := span{start, int(d.InputOffset())}
				at.start += len(a.text[at.start:at.end]) - len(bytes.TrimLeft(a.text[at.start:at.end], " \t\r\n"))
				at.end -= len(a.text[at.start:at.end]) - len(bytes.TrimRight(a.text[at.start:at.end], " \t\r\n"))
				a.add(names, string(bytes.Trim(t, " \t\r\n")), at)
			}
		case xml.Directive: // entities of its own
			return ErrAnswer
		}
	}
}

// Rename has the fields that are called one thing be known as another.
func (a *Answer) Rename(from, to string) {
	for i := range a.Fields {
		if a.Fields[i].Name == from {
			a.Fields[i].Name = to
		}
	}
}

// Replace is the answer with other texts in place of those of some fields, by
// their number in Fields. Every other byte stays. The texts have letters,
// digits and - _ . ~ + = / : alone, as placeholders do.
func (a *Answer) Replace(texts map[int]string) []byte {
	order := make([]int, 0, len(texts))
	for i := range texts {
		order = append(order, i)
	}
	slices.SortFunc(order, func(i, k int) int { return a.Fields[i].span.start - a.Fields[k].span.start })
	var out []byte
	at := 0
	for _, i := range order {
		text, s := texts[i], a.Fields[i].span
		if a.form {
			text = url.QueryEscape(text)
		}
		out = append(append(out, a.text[at:s.start]...), text...)
		at = s.end
	}
	return append(out, a.text[at:]...)
}
