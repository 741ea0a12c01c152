// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Judge looks at every value of every header, at the target, and at the body
// where there is one. bound are the credentials usable at this host; with none,
// query names are not judged. Cookies are judged for placeholders alone. r is
// not changed.
func (s *Set) Judge(bound []*policy.Credential, r *Request) (Finding, error) {
	j := judgement{set: s, request: r, usable: s.usable(bound)}
	for key, values := range r.Header {
		if err := j.header(strings.ToLower(key), values); err != nil {
			return Finding{}, err
		}
	}
	if err := j.target(); err != nil {
		return Finding{}, err
	}
	if err := j.body(); err != nil {
		return Finding{}, err
	}
	return j.result()
}

// usable are the set's credentials that are bound.
func (s *Set) usable(bound []*policy.Credential) []*Credential {
	if len(bound) == 0 {
		return nil
	}
	out := make([]*Credential, 0, len(bound))
	for i := range s.credentials {
		c := &s.credentials[i]
		if slices.ContainsFunc(bound, func(b *policy.Credential) bool { return b.Name == c.Policy.Name }) {
			out = append(out, c)
		}
	}
	return out
}

// judgement collects what one request carries.
type judgement struct {
	set     *Set
	request *Request
	usable  []*Credential
	finding Finding
	strays  []*Credential
}

// declared calls each with every position of kind of a usable credential, until
// it has found a placeholder.
func (j *judgement) declared(kind policy.PositionKind, each func(c *Credential, p policy.Position) (found place, ok bool)) (bool, error) {
	for _, c := range j.usable {
		for rank, p := range c.Policy.Positions {
			if p.Kind != kind {
				continue
			}
			if found, ok := each(c, p); ok {
				found.position, found.rank = p, rank
				return true, j.match(c, found)
			}
		}
	}
	return false, nil
}

// declares reports whether any usable credential has a position of kind.
func (j *judgement) declares(kind policy.PositionKind) bool {
	for _, c := range j.usable {
		if hasPosition(c, kind) {
			return true
		}
	}
	return false
}

func hasPosition(c *Credential, kind policy.PositionKind) bool {
	return slices.ContainsFunc(c.Policy.Positions, func(p policy.Position) bool { return p.Kind == kind })
}

// match notes a placeholder in its place. The same position twice is refused.
func (j *judgement) match(c *Credential, found place) error {
	if c.Policy.Outbound != nil && !found.position.Movable() { // policy.Compile refuses such a session
		j.strays = append(j.strays, c)
		return nil
	}
	at := slices.IndexFunc(j.finding.Matched, func(m Match) bool { return m.Credential == c })
	if at < 0 {
		j.finding.Matched = append(j.finding.Matched, Match{Credential: c, places: []place{found}})
		return nil
	}
	m := &j.finding.Matched[at]
	for _, other := range m.places {
		if other.position == found.position {
			return ErrDuplicate
		}
	}
	m.places = append(m.places, found)
	return nil
}

// stray notes placeholders inside text, plain or percent-encoded. Where the
// placeholder is a mere name, such as OPENAI_API_KEY, it may be in any text and
// means nothing there.
func (j *judgement) stray(text string) bool {
	decoded := decodeLoosely(text)
	found := false
	for i := range j.set.credentials {
		c := &j.set.credentials[i]
		if c.Policy.Placeholder.Mode == policy.ShapeName {
			continue
		}
		for _, mark := range c.marks {
			if strings.Contains(text, mark) || len(decoded) != len(text) && strings.Contains(decoded, mark) {
				j.strays = append(j.strays, c)
				found = true
				break
			}
		}
	}
	return found
}

func (j *judgement) result() (Finding, error) {
	for _, c := range j.strays {
		if !slices.Contains(j.usable, c) {
			return Finding{Unbound: true, Other: c.Policy.Name}, nil
		}
	}
	if len(j.strays) > 0 {
		return Finding{Misplaced: true, Other: j.strays[0].Policy.Name}, nil
	}
	f := j.finding
	f.Bare = len(f.Matched) == 0 && !f.Foreign
	slices.SortFunc(f.Matched, func(a, b Match) int {
		return slices.Index(j.usable, a.Credential) - slices.Index(j.usable, b.Credential)
	})
	for _, m := range f.Matched {
		slices.SortFunc(m.places, func(a, b place) int { return a.rank - b.rank })
	}
	if f.collides() {
		return Finding{}, ErrDuplicate
	}
	return f, nil
}

// collides reports whether a credential that moves meets another one where it
// comes from or goes to.
func (f *Finding) collides() bool {
	for i := range f.Matched {
		m := &f.Matched[i]
		if m.Credential.Policy.Outbound == nil {
			continue
		}
		touched := append(m.positions(), *m.Credential.Policy.Outbound)
		for k := range f.Matched {
			if k != i && slices.ContainsFunc(f.Matched[k].final(), func(p policy.Position) bool {
				return slices.ContainsFunc(touched, func(q policy.Position) bool { return slot(p) == slot(q) })
			}) {
				return true
			}
		}
	}
	return false
}

func (m *Match) positions() []policy.Position {
	out := make([]policy.Position, 0, len(m.places)+1)
	for _, p := range m.places {
		out = append(out, p.position)
	}
	return out
}

// final are the positions that the credential goes out in.
func (m *Match) final() []policy.Position {
	if out := m.Credential.Policy.Outbound; out != nil {
		return []policy.Position{*out}
	}
	return m.positions()
}

// slot is what only one credential can be in.
func slot(p policy.Position) string {
	switch p.Kind {
	case policy.PositionBearer, policy.PositionToken, policy.PositionScheme, policy.PositionBasic, policy.PositionSigV4, policy.PositionServiceAccount:
		return "header: authorization"
	}
	return p.String()
}
