// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
)

var (
	errToken = errors.New("a word that has no meaning there")
	errURL   = errors.New("a line that is no URL")
)

// word is one word of a netrc file.
type word struct {
	text string
	at   span
}

// netrcReader goes through a file word by word.
type netrcReader struct {
	data []byte
	at   int
}

// next returns the next word; "" at the end. A # begins a comment where a
// keyword may stand; passwords may hold one.
func (r *netrcReader) next(comments bool) (word, error) {
	for r.at < len(r.data) {
		c := r.data[r.at]
		switch {
		case strings.IndexByte(" \t\r\n,", c) >= 0:
			r.at++
		case c == '#' && comments:
			r.skipLine()
		case c == '"':
			return r.quoted()
		default:
			start := r.at
			for r.at < len(r.data) && strings.IndexByte(" \t\r\n", r.data[r.at]) < 0 {
				r.at++
			}
			return word{string(r.data[start:r.at]), span{start, r.at}}, nil
		}
	}
	return word{}, nil
}

func (r *netrcReader) skipLine() {
	for r.at < len(r.data) && r.data[r.at] != '\n' {
		r.at++
	}
}

func (r *netrcReader) quoted() (word, error) {
	start := r.at
	var text strings.Builder
	for r.at++; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return word{text.String(), span{start, r.at}}, nil
		case c == '\\' && r.at+1 < len(r.data):
			r.at++
			text.WriteByte(r.data[r.at])
		default:
			text.WriteByte(c)
		}
	}
	return word{}, errToken
}

// skipMacro goes to the empty line that ends a macro.
func (r *netrcReader) skipMacro() {
	for r.skipLine(); r.at < len(r.data); r.skipLine() {
		r.at++ // over the line's end
		if rest := r.data[r.at:]; bytes.HasPrefix(rest, []byte("\n")) || bytes.HasPrefix(rest, []byte("\r\n")) {
			return
		}
	}
}

// scanNetrc reads machines with login, password and account.
func scanNetrc(data []byte) ([]field, error) {
	r := &netrcReader{data: data}
	var fields []field
	machine, inside := "", false
	for {
		key, err := r.next(true)
		if err != nil || key.at.end == 0 {
			return fields, err
		}
		switch key.text {
		case "default":
			machine, inside = "", true
			continue
		case "machine", "login", "password", "account", "macdef":
		default:
			return nil, errToken
		}
		value, err := r.next(false)
		if err != nil {
			return nil, err
		}
		switch {
		case value.at.end == 0:
			return nil, errToken
		case key.text == "machine":
			machine, inside = value.text, true
		case key.text == "macdef":
			r.skipMacro()
		case !inside:
			return nil, errToken
		default:
			fields = append(fields, field{
				path: []string{machine, key.text}, value: value.text, at: value.at,
				entry: span{key.at.start, value.at.end},
			})
		}
	}
}

// scanGitCredentials reads lines of https://USER:PASSWORD@HOST/path. What
// stands alone before the host may be a token.
func scanGitCredentials(data []byte) ([]field, error) {
	var fields []field
	for _, l := range lines(data) {
		if strings.TrimSpace(l.text) == "" || strings.HasPrefix(l.text, "#") {
			continue
		}
		u, err := url.Parse(strings.TrimSpace(l.text))
		if err != nil || u.Host == "" {
			return nil, errURL
		}
		if u.User == nil {
			continue
		}
		start := strings.Index(l.text, "://") + 3
		end := start + strings.LastIndexByte(beforePath(l.text[start:]), '@')
		f := field{path: []string{u.Host, "username"}, value: u.User.Username(), entry: l.at}
		if password, ok := u.User.Password(); ok {
			f.path[1], f.value = "password", password
			start += strings.IndexByte(l.text[start:], ':') + 1
		}
		f.at = span{l.at.start + start, l.at.start + end}
		fields = append(fields, f)
	}
	return fields, nil
}

func beforePath(text string) string {
	if end := strings.IndexAny(text, "/?#"); end >= 0 {
		return text[:end]
	}
	return text
}

// scanText takes the whole file for one field.
func scanText(data []byte) ([]field, error) {
	value := strings.TrimSpace(string(data))
	start := strings.Index(string(data), value)
	at := span{start, start + len(value)}
	return []field{{path: []string{}, value: value, at: at, entry: at}}, nil
}
