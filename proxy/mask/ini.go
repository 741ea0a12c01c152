// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"errors"
	"strings"
)

var errHeader = errors.New("a section's name is not closed")

// line is one line of a file without its end.
type line struct {
	text string
	at   span // with the end
}

func lines(data []byte) []line {
	var all []line
	start := 0
	for text := range strings.Lines(string(data)) {
		all = append(all, line{strings.TrimRight(text, "\r\n"), span{start, start + len(text)}})
		start += len(text)
	}
	return all
}

func indent(text string) int { return len(text) - len(strings.TrimLeft(text, " \t")) }

// scanINI reads sections of key = value, as git, Python, npm and Java write
// them: they differ in what continues a line, so whatever may continue a field
// belongs to it, and is a field besides where it looks like one.
func scanINI(data []byte) ([]field, error) {
	var fields []field
	section, all := "", lines(data)
	for i, l := range all {
		start := indent(l.text)
		rest := l.text[start:]
		if strings.HasPrefix(rest, "[") {
			end := closing(rest)
			if end < 0 {
				return nil, errHeader
			}
			section = strings.TrimSpace(rest[1:end])
			start += end + 1
			start += indent(l.text[start:])
			rest = l.text[start:]
		}
		if rest == "" || strings.ContainsRune("#;!", rune(rest[0])) {
			continue
		}
		end, err := continued(all, i)
		if err != nil {
			return nil, err
		}
		f := readOption(section, rest, l.at.start+start)
		f.entry = span{l.at.start + entryStart(l.text, start), all[end].at.end}
		if end > i {
			f.at.end = all[end].at.start + len(all[end].text)
			f.value = string(data[f.at.start:f.at.end])
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// entryStart is where a field begins that may follow its section's header on
// the same line.
func entryStart(text string, start int) int {
	if strings.TrimSpace(text[:start]) == "" {
		return 0
	}
	return start
}

// closing finds the bracket that ends a header; git quotes brackets.
func closing(header string) int {
	inside := false
	for i := 1; i < len(header); i++ {
		switch {
		case header[i] == '\\' && inside:
			i++
		case header[i] == '"':
			inside = !inside
		case header[i] == ']' && !inside:
			return i
		}
	}
	return -1
}

// maxContinued bounds how far backslashes lead: every line of such a chain is
// looked at with all that follow.
const maxContinued = 64

// continued returns the last line of the field that begins on line i: a
// backslash leads on to the next, and so does deeper indentation.
func continued(all []line, i int) (int, error) {
	deep, end, chained := indent(all[i].text), i, 0
	for next := i + 1; next < len(all); next++ {
		deeper := indent(all[next].text) > deep && strings.TrimSpace(all[next].text) != ""
		if !deeper {
			if !strings.HasSuffix(all[next-1].text, `\`) {
				break
			}
			if chained++; chained > maxContinued {
				return 0, errNesting
			}
		}
		end = next
	}
	return end, nil
}

func readOption(section, text string, at int) field {
	f := field{path: []string{section, text}, at: span{at + len(text), at + len(text)}}
	cut := strings.IndexAny(text, "=:")
	if eq := strings.IndexByte(text, '='); eq >= 0 {
		cut = eq // a colon before it is part of the key, as in npm's and in URLs
	}
	if cut < 0 {
		return f
	}
	f.path[1] = unquote(strings.TrimSpace(text[:cut]))
	value := strings.TrimRight(text[cut+1:], " \t")
	skip := indent(value)
	f.at = span{at + cut + 1 + skip, at + cut + 1 + len(value)}
	f.value = unquote(value[skip:])
	return f
}

func unquote(text string) string {
	if n := len(text); n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}

// scanNpmrc is scanINI with the registry of a key as a step of its own.
func scanNpmrc(data []byte) ([]field, error) {
	fields, err := scanINI(data)
	for i := range fields {
		path := fields[i].path
		registry, name := path[0], path[1]
		if cut := strings.LastIndexByte(name, ':'); cut >= 0 && strings.HasPrefix(name, "//") {
			registry, name = name[:cut], name[cut+1:]
		}
		fields[i].path = []string{registry, name}
	}
	return fields, err
}
