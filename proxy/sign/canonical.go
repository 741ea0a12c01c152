// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// Request is what a signature covers.
type Request struct {
	Method  string
	Host    string // Host or :authority
	Target  string // path and query, as on the wire
	Header  http.Header
	Length  int64  // of the body; -1: unknown
	Content []byte // the body, where its hash is in no field
}

// canonical is the request as it is signed, in the form of AWS's reference,
// "Create a canonical request". signed are names in lower case.
func (r *Request) canonical(path pathForm, signed []string, payload string) string {
	raw, query, _ := strings.Cut(r.Target, "?")
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path(raw) + "\n" + canonicalQuery(query) + "\n")
	for _, name := range signed {
		b.WriteString(name + ":" + r.field(name) + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// field is the canonical value of one field: values joined by commas, runs of
// spaces made one.
func (r *Request) field(name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		if r.Length >= 0 {
			return strconv.FormatInt(r.Length, 10)
		}
	}
	var out []string
	for _, value := range r.Header[textproto.CanonicalMIMEHeaderKey(name)] {
		out = append(out, strings.Join(strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == '\t' }), " "))
	}
	return strings.Join(out, ",")
}

// has reports whether the request has the field at all.
func (r *Request) has(name string) bool {
	switch name {
	case "host":
		return true
	case "content-length":
		return r.Length > 0
	}
	return len(r.Header[textproto.CanonicalMIMEHeaderKey(name)]) > 0
}

// pathForm is a way to write a path for the signature.
type pathForm func(string) string

// pathForms are all ways in use. S3 signs the path as it is sent, other
// services encode it once more; and some clients sign reserved characters
// encoded that they send plain.
var pathForms = []pathForm{
	func(path string) string { return path },
	encodePath,
	func(path string) string { return encodePath(decodePercent(path)) },
	func(path string) string { return encodePath(encodePath(decodePercent(path))) },
}

func encodePath(path string) string {
	if path == "" {
		return "/"
	}
	return encode(path, true)
}

// canonicalQuery sorts the query by name and value, without the signature
// itself.
func canonicalQuery(query string) string {
	if query == "" {
		return ""
	}
	type pair struct{ name, value string }
	var pairs []pair
	for text := range strings.SplitSeq(query, "&") {
		if text == "" {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		p := pair{encode(decodePercent(name), false), encode(decodePercent(value), false)}
		if p.name != querySignature {
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var out []string
	for _, p := range pairs {
		out = append(out, p.name+"="+p.value)
	}
	return strings.Join(out, "&")
}

const upperHex = "0123456789ABCDEF"

// encode percent-encodes what is not unreserved (RFC 3986, section 2.3).
func encode(text string, slashes bool) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if strings.IndexByte(base62+"-._~", c) >= 0 || slashes && c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

// decodePercent undoes each escape that is one. A plus is a plus.
func decodePercent(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(c))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}
