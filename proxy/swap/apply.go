// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// ErrUnfit is a value with characters that its position cannot carry.
var ErrUnfit = errors.New("apply credential: the value cannot stand in this position")

// Apply removes the placeholders and sets the real values where upstream wants
// them. It is called on the outgoing request, whose target and content are
// those that were judged, as the last thing before it is written. A Finding
// without Matched changes nothing. The errors are [ErrUnfit] and, for a value
// that is gone by rotation or revocation, [secret.ErrNoValue].
func (f *Finding) Apply(r *Request) error {
	a := application{finding: f, request: r, user: f.user, password: f.password}
	for i := range f.Matched {
		m := &f.Matched[i]
		if m.Credential.signs() {
			continue
		}
		err := m.Credential.Value.Use(func(v secret.Value) error { return a.credential(m, v) })
		if err != nil {
			return err
		}
	}
	if a.basic {
		a.set("Authorization", "Basic "+encodeBasic(a.user, a.password))
	}
	if len(a.target) > 0 {
		r.Target = string(splice([]byte(r.Target), a.target))
	}
	for _, pair := range a.added {
		r.Target = withPair(r.Target, pair)
	}
	if len(a.content) > 0 {
		r.Content = splice(r.Content, a.content)
	}
	return a.signatures()
}

// signatures are made when everything that they cover stands.
func (a *application) signatures() error {
	for i := range a.finding.Matched {
		m := &a.finding.Matched[i]
		for _, p := range m.places {
			if p.signature == nil && p.claim == nil {
				continue
			}
			err := m.Credential.Value.Use(func(v secret.Value) error {
				if p.claim != nil {
					a.reclaim(p, v)
					return nil
				}
				return a.sign(p.signature, v.Reveal())
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// application is one run of Apply. The strings in it hold real values.
type application struct {
	finding        *Finding
	request        *Request
	basic          bool
	user, password string
	target         []edit
	content        []edit
	added          []string // to the query
}

// edit puts text in a span's place.
type edit struct {
	span
	text string
}

func (a *application) credential(m *Match, v secret.Value) error {
	out, value := m.Credential.Policy.Outbound, v.Reveal()
	for _, p := range m.places {
		if p.claim != nil {
			continue // when everything that it covers stands
		}
		if p.position.Kind == policy.PositionServiceAccount {
			if err := a.assert(p, v); err != nil {
				return err
			}
			continue
		}
		if out != nil {
			a.remove(p, m.Credential.Placeholder)
			continue
		}
		if err := a.put(p, m.Credential.Placeholder, string(value)); err != nil {
			return err
		}
	}
	if out == nil {
		return nil
	}
	if out.Kind == policy.PositionQuery {
		a.added = append(a.added, escape(out.Name, false)+"="+escape(string(value), false))
		return nil
	}
	return a.put(place{position: *out}, "", string(value))
}

// put writes value where the placeholder stands.
func (a *application) put(p place, placeholder, value string) error {
	switch p.position.Kind {
	case policy.PositionBearer:
		a.set("Authorization", "Bearer "+value)
	case policy.PositionToken:
		a.set("Authorization", "token "+value)
	case policy.PositionScheme:
		a.set("Authorization", p.position.Name+" "+value)
	case policy.PositionHeader:
		a.set(http.CanonicalHeaderKey(p.position.Name), value)
	case policy.PositionBasic:
		a.half(p.position.Name, value)
	case policy.PositionQuery:
		a.target = append(a.target, edit{p.span, escape(value, false)})
	case policy.PositionPath:
		a.target = append(a.target, edit{p.span, escape(value, p.raw)})
	case policy.PositionForm:
		a.content = append(a.content, edit{p.span, escape(value, false)})
	case policy.PositionJSON:
		a.content = append(a.content, edit{p.span, strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(value)})
	case policy.PositionCookie:
		return a.cookie(p.position.Name+"="+placeholder, p.position.Name+"="+value)
	case policy.PositionSubprotocol:
		return a.protocol(p.item+placeholder, p.item+value)
	default:
		return ErrUnfit
	}
	return nil
}

// set leaves one value in a header.
func (a *application) set(name, value string) { a.request.Header[name] = []string{value} }

func (a *application) half(name, value string) {
	a.basic = true
	if name == policy.BasicUsername {
		a.user = value
	} else {
		a.password = value
	}
}

func encodeBasic(user, password string) string {
	plain := append(append([]byte(user), ':'), password...)
	defer clear(plain)
	return base64.StdEncoding.EncodeToString(plain)
}

// remove takes a placeholder out, with what belongs to it.
func (a *application) remove(p place, placeholder string) {
	switch p.position.Kind {
	case policy.PositionBasic:
		a.user, a.password = "", ""
		delete(a.request.Header, "Authorization")
	case policy.PositionBearer, policy.PositionToken, policy.PositionScheme:
		delete(a.request.Header, "Authorization")
	case policy.PositionHeader:
		delete(a.request.Header, http.CanonicalHeaderKey(p.position.Name))
	case policy.PositionQuery:
		a.target = append(a.target, edit{wholePair(a.request.Target, p.span), ""})
	case policy.PositionCookie:
		a.dropCookie(p.position.Name + "=" + placeholder)
	}
}

// wholePair is the pair whose value is at value, with one "&", or the "?" that
// nothing would be behind.
func wholePair(target string, value span) span {
	start := strings.LastIndexAny(target[:value.start], "?&")
	end := value.end
	if target[start] == '?' && end < len(target) { // its "&" goes, the "?" stays
		return span{start + 1, end + 1}
	}
	return span{start, end}
}

// withPair adds a pair to the end of a target's query.
func withPair(target, pair string) string {
	switch at := strings.IndexByte(target, '?'); {
	case at < 0:
		return target + "?" + pair
	case at == len(target)-1 || target[len(target)-1] == '&':
		return target + pair
	}
	return target + "&" + pair
}

// splice makes text with its edits. Where two overlap, the later loses what is
// gone already.
func splice(text []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return text
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	size := len(text)
	for _, e := range edits {
		size += len(e.text)
	}
	out, at := make([]byte, 0, size), 0
	for _, e := range edits {
		out = append(append(out, text[at:max(at, e.start)]...), e.text...)
		at = max(at, e.end)
	}
	return append(out, text[at:]...)
}
