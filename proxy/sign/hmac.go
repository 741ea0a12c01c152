// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/textproto"
	"strings"
)

// Scheme says where a request carries an HMAC-SHA256 under a shared secret, as
// senders of webhooks do, and what it is made over:
//
//	FIELD: VALUE [over TEXT]
//
// VALUE holds one of {hex} and {base64}, and may hold {time}, digits. TEXT, by
// default {body}, may hold {body}, {time}, {method}, {host}, {target} (path and
// query) and {header NAME}. Everything else stands for itself.
type Scheme struct {
	Field string // in lower case
	value []piece
	over  []piece
}

// piece is text, or one of the names in braces.
type piece struct {
	name string // "" for text
	text string // also NAME of "header"
}

// ErrScheme is text that is no [Scheme].
var ErrScheme = errors.New(`want "FIELD: VALUE" or "FIELD: VALUE over TEXT", with one of {hex} and {base64} in VALUE, and {time}; in TEXT {body}, {time}, {method}, {host}, {target}, {header NAME}`)

// ParseScheme reads one.
func ParseScheme(text string) (*Scheme, error) {
	field, rest, found := strings.Cut(text, ": ")
	value, over, given := strings.Cut(rest, " over ")
	if !given {
		over = "{body}"
	}
	s := &Scheme{Field: strings.ToLower(field)}
	var valueOK, overOK bool
	s.value, valueOK = pieces(value, "hex", "base64", "time")
	s.over, overOK = pieces(over, "body", "time", "method", "host", "target", "header")
	if !found || field == "" || strings.ContainsAny(field, " :{}") || !valueOK || !overOK {
		return nil, ErrScheme
	}
	if count(s.value, "hex")+count(s.value, "base64") != 1 || count(s.value, "time") > 1 || count(s.over, "time") > 0 && count(s.value, "time") == 0 {
		return nil, ErrScheme
	}
	return s, nil
}

func count(list []piece, name string) (n int) {
	for _, p := range list {
		if p.name == name {
			n++
		}
	}
	return n
}

// pieces takes text apart at its braces; false where one is not known.
func pieces(text string, known ...string) (out []piece, ok bool) {
	for text != "" {
		literal, rest, open := strings.Cut(text, "{")
		if literal != "" {
			out = append(out, piece{text: literal})
		}
		if !open {
			return out, !strings.Contains(literal, "}")
		}
		inside, after, closed := strings.Cut(rest, "}")
		name, argument, has := strings.Cut(inside, " ")
		if !closed || has != (name == "header") || !contains(known, name) {
			return nil, false
		}
		out = append(out, piece{name, argument})
		text = after
	}
	return out, true
}

func contains(list []string, text string) bool {
	for _, one := range list {
		if one == text {
			return true
		}
	}
	return false
}

// Claim is an HMAC that a request carries.
type Claim struct {
	scheme *Scheme
	time   string
	mac    []byte
}

// Lengths of an HMAC-SHA256 in text.
const (
	hexLength    = 2 * sha256.Size
	base64Length = 44
)

// Read takes the HMAC out of a header's value; false where it has none of this
// form.
func (s *Scheme) Read(value string) (*Claim, bool) {
	c := &Claim{scheme: s}
	for _, p := range s.value {
		n := len(p.text)
		switch p.name {
		case "hex":
			n = hexLength
		case "base64":
			n = base64Length
		case "time":
			n = len(value) - len(strings.TrimLeft(value, "0123456789"))
		}
		if n > len(value) || !c.take(p, value[:n]) {
			return nil, false
		}
		value = value[n:]
	}
	return c, value == "" && len(c.mac) == sha256.Size
}

func (c *Claim) take(p piece, text string) bool {
	var err error
	switch p.name {
	case "":
		return text == p.text
	case "time":
		c.time = text
		return text != "" && len(text) <= 20
	case "hex":
		c.mac, err = hex.DecodeString(text)
	case "base64":
		c.mac, err = base64.StdEncoding.Strict().DecodeString(text)
	}
	return err == nil
}

// Made reports whether the HMAC is the one under secret.
func (c *Claim) Made(secret []byte, r *Request) bool { return hmac.Equal(c.mac, c.sum(secret, r)) }

// Again puts the HMAC under secret into the request.
func (c *Claim) Again(secret []byte, r *Request) {
	sum := c.sum(secret, r)
	var out strings.Builder
	for _, p := range c.scheme.value {
		switch p.name {
		case "":
			out.WriteString(p.text)
		case "time":
			out.WriteString(c.time)
		case "hex":
			out.WriteString(hex.EncodeToString(sum))
		case "base64":
			out.WriteString(base64.StdEncoding.EncodeToString(sum))
		}
	}
	r.Header[textproto.CanonicalMIMEHeaderKey(c.scheme.Field)] = []string{out.String()}
}

func (c *Claim) sum(secret []byte, r *Request) []byte {
	h := hmac.New(sha256.New, secret)
	for _, p := range c.scheme.over {
		switch p.name {
		case "":
			h.Write([]byte(p.text))
		case "body":
			h.Write(r.Content)
		case "time":
			h.Write([]byte(c.time))
		case "method":
			h.Write([]byte(r.Method))
		case "host":
			h.Write([]byte(r.Host))
		case "target":
			h.Write([]byte(r.Target))
		case "header":
			h.Write([]byte(strings.Join(r.Header[http.CanonicalHeaderKey(p.text)], ",")))
		}
	}
	return h.Sum(nil)
}
