// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"encoding/base64"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Names of the fields that are judged apart, in lower case.
const (
	fieldAuthorization = "authorization"
	fieldCookie        = "cookie"
	fieldProtocol      = "sec-websocket-protocol"
	fieldAmzToken      = "x-amz-security-token"
)

// header judges all values of one field.
func (j *judgement) header(name string, values []string) error {
	switch {
	case disguised(name, j.set.headers):
		return ErrVariant
	case has(j.set.headers, name):
		return j.credential(name, values)
	case name == fieldCookie:
		return j.cookies(values)
	case name == fieldProtocol && j.request.Upgrade:
		return j.protocols(values)
	}
	for _, value := range values {
		j.stray(value)
	}
	return nil
}

// credential judges all values of one credential header.
func (j *judgement) credential(name string, values []string) error {
	if len(values) != 1 {
		return ErrDuplicate
	}
	value := values[0]
	switch name {
	case fieldAuthorization:
		if ours, err := j.signature(); ours || err != nil {
			return err
		}
		if ours, err := j.bearerAssertion(value); ours || err != nil {
			return err
		}
	case fieldAmzToken:
		if j.token(value) {
			return nil
		}
	}
	if ours, err := j.claim(name, value); ours || err != nil {
		return err
	}
	for _, c := range j.usable {
		for rank, p := range c.Policy.Positions {
			if locate(p, name, value, c.Placeholder) {
				return j.match(c, place{position: p, rank: rank})
			}
		}
	}
	ours, err := j.basic(name, value)
	if err != nil {
		return err
	}
	j.stray(value)
	j.finding.Foreign = j.finding.Foreign || !ours
	return nil
}

// locate reports whether a header's value is the placeholder in position p.
func locate(p policy.Position, name, value, placeholder string) bool {
	switch p.Kind {
	case policy.PositionBearer, policy.PositionToken:
		return name == fieldAuthorization && schemeIs(value, string(p.Kind), placeholder)
	case policy.PositionScheme:
		return name == fieldAuthorization && schemeIs(value, p.Name, placeholder)
	case policy.PositionHeader:
		return strings.EqualFold(name, p.Name) && same(value, placeholder)
	}
	return false
}

// schemeIs takes "SCHEME SP value", the scheme in any case (RFC 9110 section
// 11.1) and one space exactly.
func schemeIs(value, scheme, placeholder string) bool {
	got, rest, ok := strings.Cut(value, " ")
	return ok && strings.EqualFold(got, scheme) && same(rest, placeholder)
}

// basic judges both halves of a Basic credential: each may be a credential of
// the session, and what is not is the client's own. It reports whether one was.
func (j *judgement) basic(name, value string) (ours bool, err error) {
	user, password, ok := decodeBasic(value)
	if !ok {
		return false, nil
	}
	if name != fieldAuthorization {
		j.stray(user + ":" + password)
		return false, nil
	}
	inUser, err := j.half(policy.BasicUsername, user)
	if err != nil {
		return false, err
	}
	inPassword, err := j.half(policy.BasicPassword, password)
	if err != nil {
		return false, err
	}
	if j.twice(user, password) {
		return false, ErrDuplicate
	}
	if !inUser {
		j.stray(user)
		j.finding.user = user
	}
	if !inPassword {
		j.stray(password)
		j.finding.password = password
	}
	return inUser || inPassword, nil
}

// twice reports whether both halves are the same placeholder.
func (j *judgement) twice(user, password string) bool {
	for _, c := range j.usable {
		if same(user, c.Placeholder) && same(password, c.Placeholder) {
			return true
		}
	}
	return false
}

func (j *judgement) half(name, text string) (bool, error) {
	return j.declared(policy.PositionBasic, func(c *Credential, p policy.Position) (place, bool) {
		return place{}, p.Name == name && same(text, c.Placeholder)
	})
}

// decodeBasic takes the standard alphabet with padding alone: what decodes in
// two ways would be judged in one and read in the other.
func decodeBasic(value string) (user, password string, ok bool) {
	scheme, blob, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(blob)
	if err != nil || strings.ContainsAny(blob, "\r\n") {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

// cookies judges every pair of every Cookie field. One that is not ours is for
// the caller to drop, unless it is of a name that is ours too.
func (j *judgement) cookies(values []string) error {
	ours, all := make(map[string]bool), make(map[string]int)
	for _, value := range values {
		for pair := range strings.SplitSeq(value, ";") {
			name, text, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			all[name]++
			found, err := j.declared(policy.PositionCookie, func(c *Credential, p policy.Position) (place, bool) {
				return place{}, name == p.Name && same(text, c.Placeholder)
			})
			if err != nil {
				return err
			}
			if found {
				ours[name] = true
				continue
			}
			j.stray(pair)
		}
	}
	for name := range ours {
		if all[name] > 1 {
			return ErrDuplicate
		}
	}
	return nil
}

// protocols judges every item of Sec-WebSocket-Protocol.
func (j *judgement) protocols(values []string) error {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			item = strings.Trim(item, " \t")
			found, err := j.declared(policy.PositionSubprotocol, func(c *Credential, _ policy.Position) (place, bool) {
				return inProtocol(item, c.Placeholder)
			})
			switch {
			case err != nil:
				return err
			case !found && !j.stray(item) && carriesCredential(item):
				j.finding.Foreign = true
			}
		}
	}
	return nil
}

// inProtocol takes an item that is the placeholder, or has it behind a dot.
func inProtocol(item, placeholder string) (place, bool) {
	at := len(item) - len(placeholder)
	if at < 0 || at > 0 && item[at-1] != '.' || !same(item[at:], placeholder) {
		return place{}, false
	}
	return place{item: item[:at]}, true
}

func carriesCredential(item string) bool {
	for _, prefix := range credentialProtocols {
		if len(item) > len(prefix) && strings.EqualFold(item[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
