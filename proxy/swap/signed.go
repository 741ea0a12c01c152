// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// A credential of position sigv4 is a key pair: its placeholder and its value
// are each the text of [sign.Keys]. No part of it is put into a request but in
// the form of a signature, so such a request is checked and signed here instead.

// ErrSignature is a signature that the credential's placeholder did not make.
var ErrSignature = errors.New("judge credentials: bad signature")

func (c *Credential) signs() bool { return hasPosition(c, policy.PositionSigV4) }

// keys is the pair that the agent holds.
func (c *Credential) keys() sign.Keys {
	k, err := sign.ParseKeys([]byte(c.Placeholder))
	if err != nil { // [policy.Compile] and whoever made it saw to that
		return sign.Keys{}
	}
	return k
}

// Parts are what each part of a value is to be replaced by where it comes back:
// the value itself and its placeholder, or of a key pair one after the other.
// The values are f's for the time of the call.
func (c *Credential) Parts(v secret.Value, f func(part secret.Value, placeholder string) error) error {
	switch {
	case c.asserts():
		return c.accountParts(v, f)
	case !c.signs():
		return f(v, c.Placeholder)
	}
	ours, err := sign.ParseKeys(v.Reveal())
	if err != nil {
		return err
	}
	theirs := c.keys()
	for _, part := range [][2][]byte{{ours.ID, theirs.ID}, {ours.Secret, theirs.Secret}, {ours.Token, theirs.Token}} {
		if len(part[0]) == 0 {
			continue
		}
		copied, err := secret.New(append([]byte(nil), part[0]...))
		if err != nil {
			return err
		}
		err = f(copied, asLong(part[1], len(part[0])))
		copied.Wipe()
		if err != nil {
			return err
		}
	}
	return nil
}

// asLong makes a placeholder n octets long: a token that came later may be
// longer or shorter than the one that the placeholder was made for.
func asLong(placeholder []byte, n int) string {
	if len(placeholder) == 0 {
		placeholder = []byte("x")
	}
	return string(bytes.Repeat(placeholder, n/len(placeholder)+1)[:n])
}

// Placeholders are what the agent holds: one text, or the parts of a key pair.
// Each is a sign of the credential where it does not belong.
func (c *Credential) Placeholders() []string {
	switch {
	case c.account != nil:
		return []string{c.account.ID()}
	case !c.signs():
		return []string{c.Placeholder}
	}
	k := c.keys()
	parts := []string{string(k.ID), string(k.Secret)}
	if len(k.Token) > 0 {
		parts = append(parts, string(k.Token))
	}
	return parts
}

// signature judges an Authorization field of AWS's scheme.
func (j *judgement) signature() (ours bool, err error) {
	if !j.declares(policy.PositionSigV4) {
		return false, nil
	}
	s, found, err := sign.FromHeader(j.request.Header)
	if !found {
		return false, nil
	}
	if err != nil {
		return false, ErrSignature
	}
	return j.signed(s)
}

// signed notes a signature by the placeholder of a usable credential.
func (j *judgement) signed(s *sign.Signature) (bool, error) {
	return j.declared(policy.PositionSigV4, func(c *Credential, _ policy.Position) (place, bool) {
		return place{signature: s}, same(s.ID, string(c.keys().ID))
	})
}

// token reports whether text is the session token of a usable key pair.
func (j *judgement) token(text string) bool {
	for _, c := range j.usable {
		if c.signs() && text != "" && same(text, string(c.keys().Token)) {
			return true
		}
	}
	return false
}

// presigned judges the query of a presigned URL; spans are its pairs.
func (j *judgement) presigned(target string) (spans []span, err error) {
	if !j.declares(policy.PositionSigV4) {
		return nil, nil
	}
	s, found, err := sign.FromQuery(target)
	if !found {
		return nil, nil
	}
	if err != nil {
		return nil, ErrSignature
	}
	token := sign.QueryToken(target)
	ours, err := j.signed(s)
	if err != nil || !ours || token != "" && !j.token(token) {
		return nil, err
	}
	for pair := range pairs(target, strings.IndexByte(target, '?')+1) {
		if sign.IsQueryName(pair.name) {
			spans = append(spans, pair.whole)
		}
	}
	return spans, nil
}

// within reports whether s is one of the spans.
func within(s span, spans []span) bool {
	for _, other := range spans {
		if s == other {
			return true
		}
	}
	return false
}

// Verify checks the signatures of a request whose content is there. It is
// [ErrSignature] when one is not the placeholder's: nothing may be signed then.
func (f *Finding) Verify(r *Request) error {
	for _, m := range f.Matched {
		for _, p := range m.places {
			if !p.made(m.Credential, r) || p.signature != nil && p.signature.Verify(m.Credential.keys(), r.signed()) != nil {
				return ErrSignature
			}
		}
	}
	return nil
}

// Service is the AWS service that a request is signed for, and with which
// credential; "" for one that is not signed.
func (f *Finding) Service() (credential, service string) {
	for _, m := range f.Matched {
		for _, p := range m.places {
			if p.signature != nil {
				return m.Credential.Policy.Name, p.signature.Service()
			}
		}
	}
	return "", ""
}

// Streams reports, after Verify, whether the request's body is a signed stream.
func (f *Finding) Streams() bool {
	for _, m := range f.Matched {
		for _, p := range m.places {
			if p.signature != nil && p.signature.Streams() {
				return true
			}
		}
	}
	return false
}

// signed is r as a signature covers it.
func (r *Request) signed() *sign.Request {
	return &sign.Request{Method: r.Method, Host: r.Host, Target: r.Target, Header: r.Header, Length: r.Length, Content: r.Content}
}

// sign signs the request as it is by then.
func (a *application) sign(s *sign.Signature, value []byte) error {
	keys, err := sign.ParseKeys(value)
	if err != nil {
		return ErrUnfit
	}
	out := a.request.signed()
	s.Sign(keys, out)
	a.request.Target = out.Target
	a.request.stream = s.Stream(keys)
	return nil
}

// Stream is body as it goes upstream: with its chunks signed where the client
// had signed them.
func (r *Request) Stream(body io.ReadCloser) io.ReadCloser {
	if r.stream == nil {
		return body
	}
	return struct {
		io.Reader
		io.Closer
	}{r.stream.Reader(body), body}
}
