// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"strings"
	"testing"
)

func TestO1MissingFeatureIsNamed(t *testing.T) {
	broken := errors.New("broken")
	list := []feature{
		{"first", "5.1", func() error { return nil }},
		{"second", "5.2", func() error { return ErrNotSupported }},
		{"third", "5.3", func() error { return broken }},
	}
	err := check(list)
	var missing *FeatureError
	if !errors.As(err, &missing) || missing.Feature != "second" || missing.Since != "5.2" || !errors.Is(err, ErrNotSupported) {
		t.Errorf("error %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "second: needs kernel 5.2") {
		t.Errorf("error says %q", text)
	}
	// A probe that fails for another reason must not look like a missing feature, which would select the legacy object.
	if err := check(list[2:]); !errors.Is(err, broken) || errors.Is(err, ErrNotSupported) {
		t.Errorf("error %v", err)
	}
	if err := check(list[:1]); err != nil {
		t.Errorf("error %v", err)
	}
}
