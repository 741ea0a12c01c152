// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// Credential is one credential of the session with its two values.
type Credential struct {
	Policy      *policy.Credential
	Placeholder string       // what the agent holds; at least 16 octets, or it would be found by accident
	Value       *secret.Cell // the real one, as it is at the time
	Minter      *mint.Minter // keeps Value current, where it is made when it is needed; else nil

	marks   []string                // Placeholders
	account *sign.Account           // of the placeholder of a service_account
	schemes map[string]*sign.Scheme // of its positions of kind hmac
}

// Set is the credentials of one session. It is read-only.
type Set struct {
	credentials []Credential
	headers     map[string]struct{} // that carry credentials, in lower case
}

// New makes a Set. Credentials without a placeholder are left out, since the
// empty string is in every request.
func New(credentials []Credential) *Set {
	s := &Set{headers: maps.Clone(credentialHeaders)}
	for _, c := range credentials {
		if c.Placeholder == "" || c.Policy == nil {
			continue
		}
		c.account, c.schemes = accountOf(&c), schemesOf(c.Policy)
		c.marks = c.Placeholders()
		for _, field := range schemeFields(&c) {
			s.headers[field] = struct{}{}
		}
		s.credentials = append(s.credentials, c)
		for _, p := range c.Policy.Positions {
			s.add(p)
		}
		if c.Policy.Outbound != nil { // a foreign one could be sent there directly
			s.add(*c.Policy.Outbound)
		}
	}
	return s
}

func (s *Set) add(p policy.Position) {
	if p.Kind == policy.PositionHeader {
		s.headers[strings.ToLower(p.Name)] = struct{}{}
	}
}

// Request is what is judged and rewritten of one request.
type Request struct {
	Method  string
	Host    string // Host or :authority
	Header  http.Header
	Target  string // path and query, as on the wire
	Upgrade bool   // to a WebSocket
	Length  int64  // of the body; -1: unknown
	Body    Body   // what Content is
	Content []byte // the whole body; nil where Body is NoBody

	stream *sign.Stream // nil: the body goes out as it came
}

// Errors of [Set.Judge] and [Set.Body]: the request cannot be judged, and is
// refused.
var (
	// ErrDuplicate is one position twice, or one credential in two readings.
	ErrDuplicate = errors.New("judge credentials: more than one")
	// ErrVariant is a header that some servers read as a credential header.
	ErrVariant = errors.New("judge credentials: disguised header name")
	// ErrMalformed is a body that is not what its Content-Type says.
	ErrMalformed = errors.New("judge credentials: malformed body")
)

// Finding is what a request carries. At least one of Matched, Bare, Foreign,
// Misplaced and Unbound is set. The last two stand alone; Foreign may come with
// Matched, and such a request must not be sent.
type Finding struct {
	Matched   []Match // each credential once, in the session's order
	Bare      bool    // no credential at all
	Foreign   bool    // a credential that is not the session's
	Misplaced bool    // a placeholder where its credential does not declare it
	Unbound   bool    // a placeholder at a host that it is not bound to
	Other     string  // name of the misplaced or unbound credential

	user, password string // of Basic, the client's own
}

// Match is a credential and everywhere it was found, in the order that the
// credential declares its positions in.
type Match struct {
	Credential *Credential
	places     []place
}

// ErrMint is wrapped where the value of a credential could not be obtained.
var ErrMint = errors.New("mint value")

// Mint sees to it that the credentials which are made when they are needed have
// a value for [Finding.Apply]. It may wait for an exchange, until ctx ends.
func (f *Finding) Mint(ctx context.Context) error {
	for _, m := range f.Matched {
		if m.Credential.Minter == nil {
			continue
		}
		if err := m.Credential.Minter.Ready(ctx); err != nil {
			return fmt.Errorf("credential %q: %w: %w", m.Credential.Policy.Name, ErrMint, err)
		}
	}
	return nil
}

// Reject says that the upstream did not take what was applied.
func (f *Finding) Reject() {
	for _, m := range f.Matched {
		if m.Credential.Minter != nil {
			m.Credential.Minter.Reject()
		}
	}
}

// place is one placeholder in a request.
type place struct {
	position policy.Position
	rank     int    // of position in the credential's list
	span     span   // of query and path in the target, of form and json in the body
	raw      bool   // in a path: not percent-encoded
	item     string // of subprotocol: what is in front of the placeholder

	signature *sign.Signature // of sigv4
	assertion string          // of service_account
	claim     *sign.Claim     // of hmac
}

// span is a part of a text.
type span struct{ start, end int }

// Credentials returns the names of what matched, ", " between them.
func (f *Finding) Credentials() string {
	var names []string
	for _, m := range f.Matched {
		names = append(names, m.Credential.Policy.Name)
	}
	return strings.Join(names, ", ")
}

// Positions returns the positions of what matched, each once, ", " between
// them.
func (f *Finding) Positions() string {
	var out []string
	seen := make(map[policy.Position]bool)
	for _, m := range f.Matched {
		for _, p := range m.places {
			if !seen[p.position] {
				seen[p.position] = true
				out = append(out, p.position.String())
			}
		}
	}
	return strings.Join(out, ", ")
}

// Carries reports whether a request that was judged had placeholder in a place
// where it counts.
func (f *Finding) Carries(placeholder string) bool {
	return slices.ContainsFunc(f.Matched, func(m Match) bool { return m.Credential.Placeholder == placeholder })
}

// Real is the value of the one that matched and is called NAME.field; "" where
// none is.
func (f *Finding) Real(field string) (text string) {
	for _, m := range f.Matched {
		if strings.HasSuffix(m.Credential.Policy.Name, "."+field) {
			_ = m.Credential.Value.Use(func(v secret.Value) error { text = string(v.Reveal()); return nil }) // "" is the answer
		}
	}
	return text
}

// Minted reports whether one of those that matched came from an answer.
func (f *Finding) Minted() bool {
	return slices.ContainsFunc(f.Matched, func(m Match) bool { return m.Credential.Policy.Minted })
}

// same compares in constant time.
func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
