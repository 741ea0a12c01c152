// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

var (
	errMistaken = errors.New("its placeholder could be mistaken for that of another credential")
	errIsReal   = errors.New("a placeholder could be mistaken for a real value")
)

// distinct refuses placeholders that could be mistaken for one another, or for
// a real value: one is the other, or has it in it. Random ones never are; those
// that a policy names may be.
func distinct(credentials []swap.Credential) error {
	for i := range credentials {
		a := &credentials[i]
		for k := range credentials {
			b := &credentials[k]
			if i < k && (strings.Contains(a.Placeholder, b.Placeholder) || strings.Contains(b.Placeholder, a.Placeholder)) {
				return fmt.Errorf("credential %q: %w, %q", b.Policy.Name, errMistaken, a.Policy.Name)
			}
			err := b.Value.Use(func(v secret.Value) error {
				if real, text := v.Reveal(), []byte(a.Placeholder); bytes.Contains(real, text) || bytes.Contains(text, real) {
					return fmt.Errorf("credential %q: %w, that of %q", a.Policy.Name, errIsReal, b.Policy.Name)
				}
				return nil
			})
			if err != nil && !errors.Is(err, secret.ErrNoValue) { // one that is yet to be made
				return err
			}
		}
	}
	return nil
}
