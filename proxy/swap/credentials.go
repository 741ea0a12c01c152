// SPDX-License-Identifier: Apache-2.0

package swap

import "slices"

// Credentials returns those of the set, which share its values.
func (s *Set) Credentials() []Credential { return slices.Clone(s.credentials) }
