// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// Positions of interface.md that stand alone and those that take a value. Which
// of them this build acts upon is said in [unsupported].
var (
	barePositions  = []string{"bearer", "token", "path", "subprotocol", "sigv4"}
	namedPositions = []string{"basic", "header", "query", "cookie", "form", "json"}
)

// framing lists header fields that are the connection's, the proxy's or another
// position's: a credential there would be dropped, or would break the message.
var framing = []string{
	"connection", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via",
}

// position reads "bearer" or {header: NAME}.
func (r *reader) position(n *node) (Position, error) {
	const where = "credentials.inject"
	if n.kind == isText && slices.Contains(barePositions, n.text) {
		return Position{Kind: PositionKind(n.text)}, r.supported(n, where+": "+n.text)
	}
	if n.kind != isMap || len(n.entries) != 1 || !slices.Contains(namedPositions, n.entries[0].key.text) {
		return Position{}, r.fail(n, "%s: want one of %s, or one of %s with a value", where,
			strings.Join(barePositions, ", "), strings.Join(namedPositions, ", "))
	}
	key, value := n.entries[0].key, n.entries[0].value
	if err := r.supported(key, where+": "+key.text); err != nil {
		return Position{}, err
	}
	name, err := r.positionName(key.text, value)
	return Position{Kind: PositionKind(key.text), Name: name}, err
}

func (r *reader) positionName(form string, n *node) (string, error) {
	switch form {
	case "basic":
		return r.choice(n, "credentials.inject: basic", BasicPassword, BasicUsername)
	case "header":
		return r.headerName(n)
	}
	text, err := r.str(n, "credentials.inject")
	if err == nil && form == "json" && text[0] != '/' {
		err = r.fail(n, "credentials.inject: json: want a JSON pointer, which begins with a slash")
	}
	return text, err
}

// headerName reads a field name (RFC 9110, section 5.1), in lower case.
func (r *reader) headerName(n *node) (string, error) {
	text, err := r.str(n, "header")
	if err != nil {
		return "", err
	}
	if strings.Trim(text, alphabets["base62"]+"!#$%&'*+-.^_`|~") != "" || len(text) > 128 {
		return "", r.fail(n, "header: not the name of a header field")
	}
	text = strings.ToLower(text)
	if slices.Contains(framing, text) {
		return "", r.fail(n, "header: a field that belongs to the connection, or to another position")
	}
	return text, nil
}
