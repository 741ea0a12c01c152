// SPDX-License-Identifier: Apache-2.0

package swap

import "slices"

// With is the set with further credentials, and without those that drop
// reports. Several may have the same Policy: each is a value of its own.
func (s *Set) With(further []Credential, drop func(*Credential) bool) *Set {
	next := New(further)
	next.credentials = append(slices.DeleteFunc(slices.Clone(s.credentials), func(c Credential) bool { return drop(&c) }), next.credentials...)
	for name := range s.headers {
		next.headers[name] = struct{}{}
	}
	return next
}
