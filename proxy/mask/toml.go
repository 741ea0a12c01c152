// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"errors"
	"strings"
)

var errTOML = errors.New("not TOML as tools write it")

// tomlReader reads tables of key = value. It knows where values end, and takes
// arrays and inline tables as they are.
type tomlReader struct {
	data  string
	at    int
	table []string
}

// scanTOML reads a document (TOML 1.0).
func scanTOML(data []byte) ([]field, error) {
	r := &tomlReader{data: string(data)}
	var fields []field
	for {
		r.blank(true)
		if r.at == len(r.data) {
			return fields, nil
		}
		start := r.at
		if r.data[r.at] == '[' {
			if err := r.header(); err != nil {
				return nil, err
			}
			continue
		}
		path, err := r.key("=")
		if err != nil {
			return nil, err
		}
		r.at++
		r.blank(false)
		f := field{path: append(r.table[:len(r.table):len(r.table)], path...)}
		if err := r.value(&f); err != nil {
			return nil, err
		}
		f.entry = span{start, r.at}
		fields = append(fields, f)
		if err := r.lineEnd(); err != nil {
			return nil, err
		}
	}
}

// blank skips white space, and line ends and comments where a line may begin.
func (r *tomlReader) blank(linesToo bool) {
	for r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == ' ' || c == '\t' || linesToo && (c == '\n' || c == '\r'):
			r.at++
		case c == '#' && linesToo:
			r.comment()
		default:
			return
		}
	}
}

func (r *tomlReader) comment() {
	if end := strings.IndexByte(r.data[r.at:], '\n'); end >= 0 {
		r.at += end
		return
	}
	r.at = len(r.data)
}

// lineEnd wants nothing but a comment up to the end of the line.
func (r *tomlReader) lineEnd() error {
	r.blank(false)
	if r.at < len(r.data) && r.data[r.at] == '#' {
		r.comment()
	}
	if r.at < len(r.data) && r.data[r.at] == '\r' {
		r.at++
	}
	if r.at < len(r.data) && r.data[r.at] != '\n' {
		return errTOML
	}
	return nil
}

func (r *tomlReader) header() error {
	brackets := 1
	if strings.HasPrefix(r.data[r.at:], "[[") {
		brackets = 2
	}
	r.at += brackets
	table, err := r.key("]")
	if err != nil || !strings.HasPrefix(r.data[r.at:], strings.Repeat("]", brackets)) {
		return errTOML
	}
	r.at += brackets
	r.table = table
	return r.lineEnd()
}

// key reads names with dots between, up to one of the bytes of end.
func (r *tomlReader) key(end string) ([]string, error) {
	var path []string
	for {
		r.blank(false)
		if r.at == len(r.data) {
			return nil, errTOML
		}
		var name string
		if c := r.data[r.at]; c == '"' || c == '\'' {
			f := field{}
			if err := r.quoted(&f); err != nil {
				return nil, err
			}
			name = f.value
		} else {
			start := r.at
			for r.at < len(r.data) && isBare(r.data[r.at]) {
				r.at++
			}
			if name = r.data[start:r.at]; name == "" {
				return nil, errTOML
			}
		}
		path = append(path, name)
		r.blank(false)
		if r.at == len(r.data) {
			return nil, errTOML
		}
		if strings.IndexByte(end, r.data[r.at]) >= 0 {
			return path, nil
		}
		if r.data[r.at] != '.' {
			return nil, errTOML
		}
		r.at++
	}
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// value reads a value and leaves r.at behind it.
func (r *tomlReader) value(f *field) error {
	if r.at == len(r.data) {
		return errTOML
	}
	f.at.start = r.at
	var err error
	switch c := r.data[r.at]; c {
	case '"', '\'':
		err = r.quoted(f)
	case '[', '{':
		f.kind = opaque
		err = r.collection()
	default:
		f.kind = other
		for r.at < len(r.data) && strings.IndexByte("\r\n#", r.data[r.at]) < 0 {
			r.at++
		}
	}
	f.at.end = r.at
	if f.kind == opaque {
		f.value = r.data[f.at.start:f.at.end]
	}
	return err
}

// quoted reads any of the four kinds of strings.
func (r *tomlReader) quoted(f *field) error {
	quote := r.data[r.at : r.at+1]
	triple := strings.Repeat(quote, 3)
	if strings.HasPrefix(r.data[r.at:], triple) {
		quote = triple
	}
	r.at += len(quote)
	start := r.at
	for r.at < len(r.data) {
		rest := r.data[r.at:]
		switch {
		case quote[0] == '"' && rest[0] == '\\':
			r.at = min(r.at+2, len(r.data))
		case strings.HasPrefix(rest, quote):
			f.value = r.data[start:r.at]
			// A string may end in one or two quotes of its own.
			for r.at += len(quote); len(quote) == 3 && strings.HasPrefix(r.data[r.at:], quote[:1]); r.at++ {
			}
			return nil
		case len(quote) == 1 && rest[0] == '\n':
			return errTOML
		default:
			r.at++
		}
	}
	return errTOML
}

// collection goes behind an array or inline table.
func (r *tomlReader) collection() error {
	depth := 0
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				r.at++
				return nil
			}
		case '#':
			r.comment()
			continue
		case '"', '\'':
			if err := r.quoted(&field{}); err != nil {
				return err
			}
			continue
		}
		r.at++
	}
	return errTOML
}
