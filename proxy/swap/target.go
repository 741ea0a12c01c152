// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"net/url"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// target judges path and query. What is ours is cut out of the text that is
// then searched for strays.
func (j *judgement) target() error {
	target := j.request.Target
	var ours []span
	if j.declares(policy.PositionPath) {
		found, err := j.segments(target)
		if err != nil {
			return err
		}
		ours = found
	}
	found, err := j.query(target)
	if err != nil {
		return err
	}
	j.stray(blank(target, append(ours, found...)))
	return nil
}

// blank puts a byte that no target has in the place of every span.
func blank(text string, spans []span) string {
	var b strings.Builder
	at := 0
	for _, s := range spans {
		b.WriteString(text[at:s.start])
		b.WriteByte('\n')
		at = s.end
	}
	if at == 0 {
		return text
	}
	b.WriteString(text[at:])
	return b.String()
}

// segments finds placeholders in the path.
func (j *judgement) segments(target string) (ours []span, err error) {
	path, _, _ := strings.Cut(target, "?")
	for start := 0; start < len(path); {
		end := len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		found, err := j.declared(policy.PositionPath, func(c *Credential, p policy.Position) (place, bool) {
			rest, ok := strings.CutPrefix(path[start:end], p.Name)
			if !ok || !written(rest, c.Placeholder) {
				return place{}, false
			}
			return place{span: span{start + len(p.Name), end}, raw: rest == c.Placeholder}, true
		})
		if err != nil {
			return nil, err
		}
		if found {
			ours = append(ours, span{start, end})
		}
		start = end + 1
	}
	return ours, nil
}

// query finds placeholders in the query, and names there that carry other
// credentials. Servers part pairs at "&", some also at ";"; ours are parted by
// "&" alone.
func (j *judgement) query(target string) (ours []span, err error) {
	at := strings.IndexByte(target, '?') + 1
	if at == 0 || len(j.usable) == 0 {
		return nil, nil
	}
	if ours, err = j.presigned(target); err != nil {
		return nil, err
	}
	for pair := range pairs(target, at) {
		if within(pair.whole, ours) {
			continue
		}
		found, err := j.pair(policy.PositionQuery, pair.name, pair.value, pair.span)
		if err != nil {
			return nil, err
		}
		if found {
			ours = append(ours, pair.whole)
			continue
		}
		j.foreignQuery(target[pair.whole.start:pair.whole.end])
	}
	return ours, nil
}

func (j *judgement) foreignQuery(text string) {
	for pair := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if value != "" && j.queryCarries(name) {
			j.finding.Foreign = true
		}
	}
}

// queryCarries reports whether a credential may stand under name here: by what
// is known of APIs, and by what the usable credentials declare.
func (j *judgement) queryCarries(name string) bool {
	if has(credentialQueries, strings.ToLower(name)) {
		return true
	}
	declares := func(p policy.Position) bool {
		return p.Kind == policy.PositionQuery && strings.EqualFold(p.Name, name)
	}
	for _, c := range j.usable {
		out := c.Policy.Outbound
		if slices.ContainsFunc(c.Policy.Positions, declares) || out != nil && declares(*out) {
			return true
		}
	}
	return false
}

// pair notes a placeholder that is the value of a declared name.
func (j *judgement) pair(kind policy.PositionKind, name, value string, at span) (bool, error) {
	return j.declared(kind, func(c *Credential, p policy.Position) (place, bool) {
		return place{span: at}, written(name, p.Name) && written(value, c.Placeholder)
	})
}

// pair is one NAME=VALUE of a query or form, as it is written.
type pair struct {
	name, value string
	whole, span span // of the pair, and of its value, in the text
}

// pairs goes through text from the byte at start.
func pairs[T string | []byte](text T, start int) func(yield func(pair) bool) {
	return func(yield func(pair) bool) {
		for start <= len(text) {
			end, equals := start, -1
			for ; end < len(text) && text[end] != '&'; end++ {
				if text[end] == '=' && equals < 0 {
					equals = end
				}
			}
			if equals < 0 {
				equals = end
			}
			value := min(equals+1, end)
			if !yield(pair{string(text[start:equals]), string(text[value:end]), span{start, end}, span{value, end}}) {
				return
			}
			start = end + 1
		}
	}
}

// written reports whether text is plain as it is, or as encodeURIComponent,
// Python's quote and Go's QueryEscape write it, with digits of either case.
func written(text, plain string) bool {
	if same(text, plain) {
		return true
	}
	if strings.IndexByte(text, '%') < 0 {
		return false
	}
	escaped := escape(plain, false)
	return same(text, escaped) || same(text, lowerDigits(escaped))
}

const upperHex = "0123456789ABCDEF"

// escape percent-encodes what is not unreserved (RFC 3986, section 2.3); of a
// segment, what such a one may hold stays (section 3.3), but for ";", which
// some servers take for the end of a segment.
func escape(text string, segment bool) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0,
			segment && strings.IndexByte("!$&'()*+,=:@", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteString("%" + upperHex[c>>4:c>>4+1] + upperHex[c&15:c&15+1])
		}
	}
	return b.String()
}

func lowerDigits(escaped string) string {
	out := []byte(escaped)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			out[i+1], out[i+2] = out[i+1]|0x20, out[i+2]|0x20 // digits have that bit already
			i += 2
		}
	}
	return string(out)
}

// decodeLoosely undoes each percent escape that is one, and leaves the others.
func decodeLoosely(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			if plain, err := url.PathUnescape(text[i : i+3]); err == nil {
				c = plain[0]
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}
