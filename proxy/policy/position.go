// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// PositionKind says in which part of a request a credential stands.
type PositionKind string

// The positions of this build. What Name of [Position] is, stands beside each;
// where nothing does, there is none.
const (
	PositionBearer         PositionKind = "bearer"          // Authorization: Bearer X
	PositionToken          PositionKind = "token"           // Authorization: token X
	PositionScheme         PositionKind = "scheme"          // Authorization: NAME X; as written, matched in any case
	PositionBasic          PositionKind = "basic"           // Authorization: Basic; BasicPassword or BasicUsername
	PositionHeader         PositionKind = "header"          // NAME: X; in lower case
	PositionQuery          PositionKind = "query"           // ?NAME=X; decoded, compared in its own case
	PositionPath           PositionKind = "path"            // /NAME X/: one segment; Name is what it begins with, or ""
	PositionCookie         PositionKind = "cookie"          // Cookie: NAME=X
	PositionForm           PositionKind = "form"            // NAME=X in a body of application/x-www-form-urlencoded
	PositionJSON           PositionKind = "json"            // the text at Name, an RFC 6901 pointer, in a body of application/json
	PositionSubprotocol    PositionKind = "subprotocol"     // Sec-WebSocket-Protocol: X, or anything.X
	PositionServiceAccount PositionKind = "service_account" // assertions of a Google service account; X is its JSON key
	PositionHMAC           PositionKind = "hmac"            // an HMAC-SHA256 under X; Name is a sign.Scheme
	PositionSigV4          PositionKind = "sigv4"           // AWS Signature Version 4, in Authorization or the query; X is a key pair
)

// Values of Position.Name for [PositionBasic].
const (
	BasicPassword = "password"
	BasicUsername = "username"
)

// Position is one place of a credential in a request.
type Position struct {
	Kind PositionKind `json:"kind"`
	Name string       `json:"name,omitempty"`
}

// String is the position as the policy writes it: "bearer", "header: x-api-key".
func (p Position) String() string {
	if p.Name == "" {
		return string(p.Kind)
	}
	return string(p.Kind) + ": " + p.Name
}

// Movable reports whether a credential found here can go upstream in another
// position: a path, a body and a list of protocols would not be what the client
// meant without it.
func (p Position) Movable() bool {
	switch p.Kind {
	case PositionBearer, PositionToken, PositionScheme, PositionBasic, PositionHeader, PositionQuery, PositionCookie:
		return true
	}
	return false
}

// signs reports whether positions are of a key pair, which signs requests and
// stands in none.
func signs(positions []Position) bool {
	return slices.ContainsFunc(positions, func(p Position) bool { return p.Kind == PositionSigV4 })
}

// Signs reports whether the credential is an AWS key pair. Its variables are
// those of id, secret and session token, in this order; the last one is set
// where there is a token.
func (c Credential) Signs() bool { return signs(c.Positions) }

// Asserts reports whether the credential is the key of a Google service
// account. Its variables are of the path of a file with the placeholder's.
func (c Credential) Asserts() bool {
	return slices.ContainsFunc(c.Positions, func(p Position) bool { return p.Kind == PositionServiceAccount })
}

// makesKeys reports whether what stands for the value is a key of its own.
func (c Credential) makesKeys() bool { return c.Signs() || c.Asserts() }

// checkKey refuses what a key that signs cannot be.
func (c Credential) checkKey() error {
	if c.Asserts() && (len(c.Positions) > 1 || c.Outbound != nil || c.Placeholder.Mode != ShapeProvider) {
		return errors.New("service_account stands alone in inject, without outbound and placeholder: its value is a key, and the agent gets another")
	}
	return c.checkPair()
}

// checkPair refuses what a key pair cannot be.
func (c Credential) checkPair() error {
	switch {
	case !c.Signs():
		return nil
	case len(c.Positions) > 1:
		return errors.New("sigv4 stands alone in inject: its value is a key pair")
	case c.Outbound != nil:
		return errors.New("sigv4 has no outbound: a signature stays where it is")
	case c.Placeholder.Mode != ShapeProvider:
		return errors.New("sigv4 has no placeholder of its own: a key pair's is another pair")
	case len(c.Env) < 2 || len(c.Env) > 3:
		return errors.New("env of sigv4 names the variables of access key id, secret access key and session token, in this order")
	}
	return nil
}

// movable are the positions of a provider that its outbound can stand in for.
func movable(positions []Position) []Position {
	return slices.DeleteFunc(slices.Clone(positions), func(p Position) bool { return !p.Movable() })
}

// immovable returns a position of c that its outbound cannot stand in for.
func (c Credential) immovable() (Position, bool) {
	for _, p := range c.Positions {
		if c.Outbound != nil && !p.Movable() {
			return p, true
		}
	}
	return Position{}, false
}

// Positions that stand alone and those that take a value; path does both, and
// scheme is the general form of bearer and token. Which of them this build acts
// upon is said in [unsupported].
var (
	barePositions  = []string{"bearer", "token", "path", "subprotocol", "sigv4", "service_account"}
	namedPositions = []string{"basic", "header", "query", "cookie", "form", "json", "path", "scheme", "hmac"}
)

// outboundKinds are those that can be written into any request.
var outboundKinds = []PositionKind{
	PositionBearer, PositionToken, PositionScheme, PositionBasic, PositionHeader, PositionQuery,
}

// framing lists header fields that are the connection's, the proxy's or another
// position's: a credential there would be dropped, or would break the message.
var framing = []string{
	"connection", "content-length", "content-type", "content-encoding", "cookie", "expect", "forwarded", "host", "keep-alive",
	"proxy-authenticate", "proxy-authorization", "proxy-connection", "sec-websocket-protocol", "set-cookie", "te", "trailer",
	"transfer-encoding", "upgrade", "via",
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
	if err != nil {
		return "", err
	}
	if want := positionForm(form, text); want != "" || len(text) > 128 {
		return "", r.fail(n, "credentials.inject: %s: want %sat most 128 octets", form, want)
	}
	return text, nil
}

// tokenBytes are the characters of RFC 9110, section 5.6.2.
var tokenBytes = alphabets["base62"] + "!#$%&'*+-.^_`|~"

// positionForm says what is wrong with the value of a position, or "".
func positionForm(form, text string) string {
	switch form {
	case "json":
		if text[0] != '/' || strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(text), "~") {
			return "a JSON pointer, which begins with a slash and has ~ as ~0 or ~1 alone, "
		}
	case "cookie":
		if strings.Trim(text, tokenBytes) != "" {
			return "the name of a cookie, "
		}
	case "path":
		if strings.Trim(text, alphabets["base64url"]+".~") != "" {
			return "what the segment begins with, letters, digits and - _ . ~ alone, "
		}
	case "hmac":
		if _, err := sign.ParseScheme(text); err != nil {
			return strings.TrimPrefix(err.Error(), "want ") + ", "
		}
	case "scheme":
		if strings.Trim(text, tokenBytes) != "" || slices.Contains([]string{"basic", "bearer", "token"}, strings.ToLower(text)) {
			return "an authentication scheme, other than those with a position of their own, "
		}
	}
	return ""
}

// headerName reads a field name (RFC 9110, section 5.1), in lower case.
func (r *reader) headerName(n *node) (string, error) {
	text, err := r.str(n, "header")
	if err != nil {
		return "", err
	}
	if strings.Trim(text, tokenBytes) != "" || len(text) > 128 {
		return "", r.fail(n, "header: not the name of a header field")
	}
	text = strings.ToLower(text)
	if slices.Contains(framing, text) {
		return "", r.fail(n, "header: a field that belongs to the connection, or to another position")
	}
	return text, nil
}

// readOutbound reads the position that upstream wants.
func readOutbound(r *reader, n *node, d *Declared) error {
	p, err := r.position(n)
	if err != nil {
		return err
	}
	if !slices.Contains(outboundKinds, p.Kind) {
		return r.fail(n, "credentials.outbound: want bearer, token, scheme, basic, header or query")
	}
	d.Outbound = &p
	return nil
}
