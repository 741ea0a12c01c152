// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"testing"
)

func learn(t *testing.T, s *Scrubber, real, placeholder string) {
	t.Helper()
	if err := s.Add([]Pair{{value(t, real), placeholder}}); err != nil {
		t.Fatal(err)
	}
}

// S1: what one session captured is looked for in its own answers alone; what
// belongs to all is looked for in all, whichever was learnt first.
func TestChildrenShareTheParentAndNothingElse(t *testing.T) {
	const (
		own, ownHolder     = "child-Own4Gh7Lk2mXv9Tn4Rb8Y", "child-________________holder"
		later, laterHolder = laterCanary, laterPlaceholder
	)
	parent := scrubber(t, [2]string{canary, placeholder})
	one, other := parent.Child(nil), parent.Child(nil)
	if one.table() != parent.table() {
		t.Error("a child that has learnt nothing has a table of its own")
	}
	learn(t, one, own, ownHolder)
	learn(t, parent, later, laterHolder)
	for _, c := range []struct {
		name                string
		s                   *Scrubber
		canary, own, latest bool
	}{{"parent", parent, true, false, true}, {"one", one, true, true, true}, {"other", other, true, false, true}} {
		for text, known := range map[string]bool{canary: c.canary, own: c.own, later: c.latest} {
			if got := c.s.Bytes(nil, []byte("x "+text+" y")); bytes.Contains(got, []byte(text)) == known {
				t.Errorf("%s: %q became %q", c.name, text, got)
			}
		}
	}
	one.Wipe()
	if got := other.Bytes(nil, []byte(canary)); bytes.Contains(got, []byte(canary)) {
		t.Error("a child that was wiped took the parent's with it")
	}
}
