// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// locate reports whether a header's value is the placeholder in position p.
// For Basic it also returns the other half, which is the client's.
func locate(p policy.Position, name, value, placeholder string) (found bool, other string, err error) {
	switch p.Kind {
	case policy.PositionBearer, policy.PositionToken:
		return name == "authorization" && schemeIs(value, string(p.Kind), placeholder), "", nil
	case policy.PositionHeader:
		return strings.EqualFold(name, p.Name) && same(value, placeholder), "", nil
	case policy.PositionBasic:
		if name == "authorization" {
			return locateBasic(p, value, placeholder)
		}
	}
	return false, "", nil
}

// schemeIs takes "SCHEME SP value", the scheme in any case (RFC 9110 section
// 11.1) and one space exactly.
func schemeIs(value, scheme, placeholder string) bool {
	got, rest, ok := strings.Cut(value, " ")
	return ok && strings.EqualFold(got, scheme) && same(rest, placeholder)
}

func locateBasic(p policy.Position, value, placeholder string) (bool, string, error) {
	user, password, ok := decodeBasic(value)
	if !ok {
		return false, "", nil
	}
	isUser, isPassword := same(user, placeholder), same(password, placeholder)
	if isUser && isPassword {
		return false, "", ErrDuplicate
	}
	if p.Name == policy.BasicUsername {
		return isUser && !strings.Contains(password, placeholder), password, nil
	}
	return isPassword && !strings.Contains(user, placeholder), user, nil
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

// ErrNoValue is a credential whose value is gone, by rotation or revocation.
var ErrNoValue = errors.New("apply credential: no value")

// Apply removes the placeholder and sets the real value where upstream wants
// it. It is called on the outgoing request's own header, as the last thing
// before it is written. A Finding without Matched changes nothing.
func (f *Finding) Apply(header http.Header) error {
	if f.Matched == nil {
		return nil
	}
	value := f.Matched.Value.Reveal()
	if len(value) == 0 {
		return ErrNoValue
	}
	for _, name := range f.inbound {
		delete(header, name)
	}
	to := f.Position
	if out := f.Matched.Policy.Outbound; out != nil {
		to = *out
	}
	name, text := f.render(to, value)
	header[name] = []string{text}
	return nil
}

// render writes value in position p. The strings it makes hold the real value.
func (f *Finding) render(p policy.Position, value []byte) (name, text string) {
	switch p.Kind {
	case policy.PositionHeader:
		return http.CanonicalHeaderKey(p.Name), string(value)
	case policy.PositionToken:
		return "Authorization", "token " + string(value)
	case policy.PositionBasic:
		plain := make([]byte, 0, len(f.user)+1+len(value))
		if p.Name == policy.BasicUsername {
			plain = append(append(append(plain, value...), ':'), f.user...)
		} else {
			plain = append(append(append(plain, f.user...), ':'), value...)
		}
		defer clear(plain)
		return "Authorization", "Basic " + base64.StdEncoding.EncodeToString(plain)
	default:
		return "Authorization", "Bearer " + string(value)
	}
}
