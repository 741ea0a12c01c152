// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

func value(t testing.TB, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Wipe)
	return v
}

// scrubber makes one of pairs of real value and placeholder.
func scrubber(t testing.TB, pairs ...[2]string) *Scrubber {
	t.Helper()
	var list []Pair
	for _, p := range pairs {
		list = append(list, Pair{value(t, p[0]), p[1]})
	}
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Wipe)
	return s
}
