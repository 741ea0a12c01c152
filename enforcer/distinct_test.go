// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

func TestPlaceholdersAreMistakenForNothing(t *testing.T) {
	made := func(name, placeholder, value string) swap.Credential {
		v, err := secret.New([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Wipe)
		return swap.Credential{Policy: &policy.Credential{Name: name}, Placeholder: placeholder, Value: secret.NewCell(v)}
	}
	a := made("a", "A_KEY", "0123456789abcdef")
	for name, c := range map[string]struct {
		other swap.Credential
		want  error
	}{
		"another":                     {made("b", "B_KEY", "fedcba9876543210"), nil},
		"not made yet":                {made("b", "B_KEY", ""), nil},
		"the same":                    {made("b", "A_KEY", "fedcba9876543210"), errMistaken},
		"contains the other":          {made("b", "MY_A_KEY", "fedcba9876543210"), errMistaken},
		"is in the other":             {made("b", "KEY", "fedcba9876543210"), errMistaken},
		"is its own value":            {made("b", "fedcba9876543210", "fedcba9876543210"), errIsReal},
		"is the other's value":        {made("b", "0123456789abcdef", "fedcba9876543210"), errIsReal},
		"is in the other's value":     {made("b", "89abcdef", "fedcba9876543210"), errIsReal},
		"the other's is in its value": {made("b", "B_KEY", "fedcba_A_KEY_3210"), errIsReal},
	} {
		for _, all := range [][]swap.Credential{{a, c.other}, {c.other, a}} {
			if err := distinct(all); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	}
}
