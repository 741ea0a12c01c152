// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Credential is one credential of the session with its two values.
type Credential struct {
	Policy      *policy.Credential
	Placeholder string       // what the agent holds; at least 16 octets, or it would be found by accident
	Value       secret.Value // the real one
}

// Set is the credentials of one session. It is read-only.
type Set struct {
	credentials []Credential
	headers     map[string]struct{} // lower case
}

// New makes a Set. Credentials without a placeholder are left out, since the
// empty string is in every request.
func New(credentials []Credential) *Set {
	s := &Set{headers: maps.Clone(credentialHeaders)}
	for _, c := range credentials {
		if c.Placeholder == "" || c.Policy == nil {
			continue
		}
		s.credentials = append(s.credentials, c)
		for _, p := range c.Policy.Positions {
			s.addHeader(p)
		}
		if c.Policy.Outbound != nil { // a foreign one could be sent there directly
			s.addHeader(*c.Policy.Outbound)
		}
	}
	return s
}

func (s *Set) addHeader(p policy.Position) {
	if p.Kind == policy.PositionHeader {
		s.headers[strings.ToLower(p.Name)] = struct{}{}
	}
}

// Errors of [Set.Judge]: the head cannot be judged, and the request is refused.
var (
	// ErrDuplicate is more than one credential, or one in more than one reading.
	ErrDuplicate = errors.New("judge credentials: more than one")
	// ErrVariant is a header that some servers read as a credential header.
	ErrVariant = errors.New("judge credentials: disguised header name")
)

// Finding is what a request carries. Exactly one of Matched, Bare, Foreign,
// Misplaced and Unbound is set, the later of these winning over the earlier;
// only Foreign may come with Matched, and such a request must not be sent.
type Finding struct {
	Matched   *Credential
	Position  policy.Position // of Matched
	Bare      bool            // no credential at all
	Foreign   bool            // a credential that is not the session's
	Misplaced bool            // a placeholder where its credential does not declare it
	Unbound   bool            // a placeholder at a host that it is not bound to
	Other     string          // name of the misplaced or unbound credential

	inbound []string // canonical names of the headers that Matched was found in
	user    string   // of Basic: the half that is not the placeholder
}

// Judge looks at every value of every header and at target, the path and query
// as on the wire. bound are the credentials usable at this host; with none,
// query names are not judged. Cookies are judged for placeholders alone.
func (s *Set) Judge(bound []*policy.Credential, header http.Header, target string) (Finding, error) {
	j := judgement{set: s, bound: bound}
	for key, values := range header {
		name := strings.ToLower(key)
		if disguised(name, s.headers) {
			return Finding{}, ErrVariant
		}
		if has(s.headers, name) {
			if err := j.credential(key, name, values); err != nil {
				return Finding{}, err
			}
			continue
		}
		for _, value := range values {
			j.stray(value)
		}
	}
	j.stray(target)
	if len(bound) > 0 {
		j.query(target)
	}
	return j.result()
}

// judgement collects what one head carries.
type judgement struct {
	set     *Set
	bound   []*policy.Credential
	matches []match
	foreign bool
	strays  []*Credential
}

type match struct {
	credential *Credential
	rank       int // of the position in its credential's list
	header     string
	user       string
}

// credential judges all values of one credential header.
func (j *judgement) credential(key, name string, values []string) error {
	if len(values) != 1 {
		return ErrDuplicate
	}
	value := values[0]
	for i := range j.set.credentials {
		c := &j.set.credentials[i]
		if !j.isBound(c) {
			continue
		}
		for rank, p := range c.Policy.Positions {
			found, user, err := locate(p, name, value, c.Placeholder)
			if err != nil {
				return err
			}
			if found {
				j.matches = append(j.matches, match{c, rank, key, user})
				return nil
			}
		}
	}
	if !j.stray(value) && !j.strayBasic(name, value) {
		j.foreign = true
	}
	return nil
}

func (j *judgement) isBound(c *Credential) bool {
	for _, b := range j.bound {
		if b.Name == c.Policy.Name {
			return true
		}
	}
	return false
}

// stray notes placeholders inside text, plain or percent-encoded. Where the
// placeholder is a mere name, such as OPENAI_API_KEY, it may be in any text and
// means nothing there.
func (j *judgement) stray(text string) bool {
	decoded := text
	if strings.Contains(text, "%") {
		if plain, err := url.PathUnescape(text); err == nil {
			decoded = plain
		}
	}
	found := false
	for i := range j.set.credentials {
		c := &j.set.credentials[i]
		if c.Policy.Placeholder.Mode == "name" {
			continue
		}
		if strings.Contains(text, c.Placeholder) || strings.Contains(decoded, c.Placeholder) {
			j.strays = append(j.strays, c)
			found = true
		}
	}
	return found
}

// strayBasic notes placeholders inside a Basic credential that matched no
// declared position.
func (j *judgement) strayBasic(name, value string) bool {
	if name != "authorization" && name != "proxy-authorization" {
		return false
	}
	user, password, ok := decodeBasic(value)
	if !ok {
		return false
	}
	return j.stray(user + ":" + password)
}

// query notes credentials in the query that are not the session's. Placeholders
// there were noted before.
func (j *judgement) query(target string) {
	_, query, _ := strings.Cut(target, "?")
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if value != "" && has(credentialQueries, strings.ToLower(name)) {
			j.foreign = true
		}
	}
}

func (j *judgement) result() (Finding, error) {
	for _, c := range j.strays {
		if !j.isBound(c) {
			return Finding{Unbound: true, Other: c.Policy.Name}, nil
		}
	}
	switch {
	case len(j.strays) > 0:
		return Finding{Misplaced: true, Other: j.strays[0].Policy.Name}, nil
	case len(j.matches) == 0:
		return Finding{Bare: !j.foreign, Foreign: j.foreign}, nil
	}
	return j.matched()
}

// matched takes the credential's first declared position when a client sent the
// same one in several headers, as SDKs do that know two variables for one key.
func (j *judgement) matched() (Finding, error) {
	best := j.matches[0]
	f := Finding{Matched: best.credential, Foreign: j.foreign}
	for _, m := range j.matches {
		if m.credential != f.Matched {
			return Finding{}, ErrDuplicate
		}
		if m.rank < best.rank {
			best = m
		}
		f.inbound = append(f.inbound, m.header)
	}
	f.Position = best.credential.Policy.Positions[best.rank]
	f.user = best.user
	return f, nil
}

// same compares in constant time.
func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
