// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// chunks gives one piece at a read, and calls before each.
type chunks struct {
	pieces []string
	before func(i int)
	i      int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.i == len(c.pieces) {
		return 0, io.EOF
	}
	c.before(c.i)
	n := copy(p, c.pieces[c.i])
	c.i++
	return n, nil
}

const (
	laterCanary      = "later-WqPz7Lk2mXv9Tn4Rb8Yc"
	laterPlaceholder = "later-________________placeholder"
)

func TestAddedCredentialIsFoundInStreamsThatRun(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	half := len(laterCanary) / 2
	src := &chunks{
		pieces: []string{"a " + laterCanary + " b ", laterCanary[:half], laterCanary[half:] + " " + canary},
		before: func(i int) {
			if i == 1 {
				if err := s.Add([]Pair{{value(t, laterCanary), laterPlaceholder}}); err != nil {
					t.Error(err)
				}
			}
		},
	}
	out, err := io.ReadAll(s.Reader(src))
	if err != nil {
		t.Fatal(err)
	}
	want := "a " + laterCanary + " b " + laterPlaceholder[:len(laterCanary)] + " " + string(fitted([]byte(placeholder), len(canary)))
	if string(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestAddKeepsWhatWasKnown(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	before := len(s.current.Load().patterns)
	if err := s.Add([]Pair{{value(t, canary), "another " + placeholder}}); err != nil {
		t.Fatal(err)
	}
	if now := len(s.current.Load().patterns); now != before {
		t.Errorf("%d patterns for the same value, %d before", now, before)
	}
	if err := s.Add([]Pair{{value(t, laterCanary), laterPlaceholder}}); err != nil {
		t.Fatal(err)
	}
	got := s.Bytes(nil, []byte(canary+laterCanary))
	if bytes.Contains(got, []byte(canary)) || bytes.Contains(got, []byte(laterCanary)) {
		t.Errorf("%q", got)
	}
	if err := s.Add([]Pair{{value(t, "short-but-good-16"), ""}}); err == nil {
		t.Error("a pair without a placeholder was taken")
	}
	if got := s.Bytes(nil, []byte(strings.Repeat("x", 64)+laterCanary)); bytes.Contains(got, []byte(laterCanary)) {
		t.Errorf("after a refusal: %q", got)
	}
}
