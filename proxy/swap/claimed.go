// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// A credential of position hmac is a secret that requests are not sent, but
// signed with: its placeholder's HMAC is checked and made again.

// schemesOf are the compiled positions of kind hmac, by their name.
func schemesOf(c *policy.Credential) map[string]*sign.Scheme {
	var all map[string]*sign.Scheme
	for _, p := range c.Positions {
		if p.Kind != policy.PositionHMAC {
			continue
		}
		if s, err := sign.ParseScheme(p.Name); err == nil { // the policy's reader saw to that
			if all == nil {
				all = make(map[string]*sign.Scheme)
			}
			all[p.Name] = s
		}
	}
	return all
}

// claim notes an HMAC in a field; whose it is shows when the body is there.
func (j *judgement) claim(name, value string) (bool, error) {
	return j.declared(policy.PositionHMAC, func(c *Credential, p policy.Position) (place, bool) {
		s := c.schemes[p.Name]
		if s == nil || s.Field != name {
			return place{}, false
		}
		claim, ok := s.Read(value)
		return place{claim: claim}, ok
	})
}

// claims reports whether a request carries an HMAC that one of the credentials
// declares.
func (s *Set) claims(bound []*policy.Credential, has func(field string) bool) bool {
	for _, c := range s.usable(bound) {
		for _, scheme := range c.schemes {
			if has(scheme.Field) {
				return true
			}
		}
	}
	return false
}

// made reports whether the claim is by the placeholder.
func (p *place) made(c *Credential, r *Request) bool {
	return p.claim == nil || p.claim.Made([]byte(c.Placeholder), r.signed())
}

// reclaim makes the HMAC again.
func (a *application) reclaim(p place, v secret.Value) {
	p.claim.Again(v.Reveal(), a.request.signed())
}

// schemeFields are the fields of a credential's HMACs.
func schemeFields(c *Credential) (fields []string) {
	for _, s := range c.schemes {
		fields = append(fields, strings.ToLower(s.Field))
	}
	return fields
}
