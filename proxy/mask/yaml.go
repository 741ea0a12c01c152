// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"errors"
	"strconv"
	"strings"
)

// errYAML refuses what tools do not write into such files: anchors, tags,
// several documents, keys that are no plain names, values over several lines
// without a sign of it. Two readers may differ about those.
var errYAML = errors.New("a kind of YAML that is not understood here")

// yamlReader reads mappings and sequences in block style, line by line.
type yamlReader struct {
	lines  []line
	at     int
	fields []field
	open   []yamlLevel
}

// yamlLevel is a collection that is open, and where its entries stand.
type yamlLevel struct {
	column int
	step   string // of the entry under way
	items  int    // -1: a mapping
}

// scanYAML reads one document. JSON is YAML, too.
func scanYAML(data []byte) ([]field, error) {
	if first := strings.TrimSpace(string(data)); strings.HasPrefix(first, "{") {
		return scanJSON(data)
	}
	r := &yamlReader{lines: lines(data)}
	started := false
	for ; r.at < len(r.lines); r.at++ {
		text := strings.TrimRight(r.lines[r.at].text, " \t")
		trimmed := strings.TrimLeft(text, " ")
		switch {
		case trimmed == "" || trimmed[0] == '#':
			continue
		case text == "---" && !started:
			started = true
			continue
		case text == "---" || text == "..." || trimmed[0] == '\t' || text[0] == '%':
			return nil, errYAML
		}
		started = true
		if err := r.entry(len(text)-len(trimmed), text); err != nil {
			return nil, err
		}
	}
	return r.fields, nil
}

// entry reads "key: value" or "- entry" from column on.
func (r *yamlReader) entry(column int, text string) error {
	for len(r.open) > 0 && r.open[len(r.open)-1].column > column {
		r.open = r.open[:len(r.open)-1]
	}
	if len(r.open) > maxNesting {
		return errNesting
	}
	rest := text[column:]
	item := rest == "-" || strings.HasPrefix(rest, "- ")
	// A sequence may stand as deep as the key that it belongs to.
	if n := len(r.open); n > 1 && !item && r.open[n-1].items >= 0 && r.open[n-2].column == column {
		r.open = r.open[:n-1]
	}
	if item {
		return r.item(column, text)
	}
	key, behind, err := yamlKey(rest)
	if err != nil {
		return err
	}
	n := len(r.open)
	switch {
	case n == 0 || r.open[n-1].column < column:
		r.open = append(r.open, yamlLevel{column: column, items: -1})
	case r.open[n-1].items >= 0:
		return errYAML
	}
	r.open[len(r.open)-1].step = key
	return r.value(column+behind, column, text)
}

func (r *yamlReader) item(column int, text string) error {
	n := len(r.open)
	switch {
	case n == 0 || r.open[n-1].column < column || r.open[n-1].items < 0 && r.open[n-1].column == column:
		r.open = append(r.open, yamlLevel{column: column})
	case r.open[n-1].items >= 0:
		r.open[n-1].items++
	default:
		return errYAML
	}
	level := &r.open[len(r.open)-1]
	level.step = strconv.Itoa(level.items)
	inner := column + 1
	for inner < len(text) && text[inner] == ' ' {
		inner++
	}
	if inner >= len(text) {
		return nil
	}
	if _, _, err := yamlKey(text[inner:]); err == nil || strings.HasPrefix(text[inner:], "- ") {
		return r.entry(inner, text)
	}
	return r.value(inner, column, text)
}

// yamlKey reads a key and returns what stands behind its colon.
func yamlKey(text string) (key string, behind int, err error) {
	switch text[0] {
	case '"', '\'':
		end := yamlQuote(text)
		if end < 0 || !strings.HasPrefix(text[end:], ":") {
			return "", 0, errYAML
		}
		key, behind = text[1:end-1], end+1
		if text[0] == '"' {
			if key, err = strconv.Unquote(text[:end]); err != nil {
				return "", 0, errYAML
			}
		}
	case '?', '&', '*', '!', '|', '>', '%', '@', '`', '{', '[', ',', '#':
		return "", 0, errYAML
	default:
		end := strings.Index(text+" ", ": ")
		if end <= 0 || strings.Contains(text[:end], " #") {
			return "", 0, errYAML
		}
		key, behind = strings.TrimRight(text[:end], " "), end+1
	}
	if key == "<<" || behind < len(text) && text[behind] != ' ' {
		return "", 0, errYAML
	}
	return key, behind, nil
}

// yamlQuote returns what is behind a quoted text, -1 where it is not closed on
// its line.
func yamlQuote(text string) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[0] == '"' && text[i] == '\\':
			i++
		case text[i] != text[0]:
		case text[0] == '\'' && strings.HasPrefix(text[i+1:], "'"):
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// value reads what stands on the rest of the line, and the lines that belong
// to it. Column is the entry's.
func (r *yamlReader) value(from, column int, text string) error {
	for from < len(text) && text[from] == ' ' {
		from++
	}
	if from >= len(text) || text[from] == '#' {
		return nil // a collection, below
	}
	l := r.lines[r.at]
	f := field{path: r.path(), at: span{l.at.start + from, l.at.start + len(text)}}
	rest := text[from:]
	end := len(rest)
	switch rest[0] {
	case '&', '*', '!', '%', '@', '`':
		return errYAML
	case '|', '>':
		f.at.end = r.block(column)
		f.value = rest
		r.fields = append(r.fields, f)
		return nil
	case '"', '\'':
		if end = yamlQuote(rest); end < 0 {
			return errYAML
		}
		f.value = yamlUnquote(rest[:end])
	case '[', '{':
		if end = yamlFlow(rest); end < 0 {
			return errYAML
		}
		f.kind, f.value = opaque, rest[:end]
		if inner := strings.TrimSpace(rest[1 : end-1]); inner == "" {
			f.kind = other
		}
	default:
		if cut := strings.Index(rest, " #"); cut >= 0 {
			end = len(strings.TrimRight(rest[:cut], " "))
		}
		if f.value = rest[:end]; strings.Contains(f.value+" ", ": ") {
			return errYAML
		}
		f.kind = plainKind(f.value)
	}
	if behind := strings.TrimLeft(rest[end:], " "); behind != "" && behind[0] != '#' {
		return errYAML
	}
	f.at.end = f.at.start + end
	f.entry = l.at
	r.fields = append(r.fields, f)
	return r.endsHere(column)
}

func (r *yamlReader) path() []string {
	var path []string
	for _, level := range r.open {
		path = append(path, level.step)
	}
	return path
}

// endsHere refuses a value that goes on in the next line.
func (r *yamlReader) endsHere(column int) error {
	for _, l := range r.lines[r.at+1:] {
		trimmed := strings.TrimLeft(l.text, " ")
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if len(l.text)-len(trimmed) > column {
			return errYAML
		}
		return nil
	}
	return nil
}

// block goes over the lines of a block of text and returns its end.
func (r *yamlReader) block(column int) int {
	end := r.lines[r.at].at.start + len(r.lines[r.at].text)
	for r.at+1 < len(r.lines) {
		next := r.lines[r.at+1]
		if strings.TrimSpace(next.text) != "" && indent(next.text) <= column {
			break
		}
		r.at++
		if strings.TrimSpace(next.text) != "" {
			end = next.at.start + len(next.text)
		}
	}
	return end
}

func yamlUnquote(text string) string {
	if text[0] == '\'' {
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'")
	}
	if value, err := strconv.Unquote(text); err == nil {
		return value
	}
	return text[1 : len(text)-1]
}

// yamlFlow returns what is behind a collection in brackets, -1 where it is not
// closed on its line.
func yamlFlow(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"', '\'':
			end := yamlQuote(text[i:])
			if end < 0 {
				return -1
			}
			i += end - 1
		}
	}
	return -1
}

// plainKind tells text from what YAML reads as something else.
func plainKind(value string) fieldKind {
	switch strings.ToLower(value) {
	case "null", "~", "true", "false":
		return other
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return other
	}
	return text
}
