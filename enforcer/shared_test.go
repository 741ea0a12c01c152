// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

func sharedPolicy(t *testing.T, dir, placeholder string) *policy.File {
	t.Helper()
	f, err := policy.Parse("cluster.yaml", fmt.Appendf(nil, `version: 1
credentials:
  key:
    from: file:%s/cluster.key
    env: [API_KEY, OTHER_KEY]
    hosts: [%s]
    placeholder: %s
`, dir, poolHost, placeholder))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Whoever tells pods what they hold says what each node's proxy takes, though
// neither knows the other's seed, nor the first the value.
func TestNodesWithASharedSeedAgreeWithWhoHasNoValue(t *testing.T) {
	shared := []byte("a cluster's seed, the same on all nodes")
	for _, placeholder := range []string{"name", `"sk-{base62:40}"`, `"sk-{base62:30}-{tail:12}"`} {
		var authorities [][]byte
		dir := t.TempDir()
		file := sharedPolicy(t, dir, placeholder)
		told, err := SharedEnviron(shared, "cluster", file)
		if err != nil {
			t.Fatal(err)
		}
		for _, seed := range []string{"0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"} {
			r := newPoolRig(t)
			r.pool.config.Seed, r.pool.config.Shared = []byte(seed), shared
			r.dir = dir
			r.write("cluster.key", oneKey)
			facts, err := r.pool.AddPolicy(t.Context(), "cluster", file, PolicyFacts{})
			if err != nil {
				t.Fatal(err)
			}
			if env := PlaceholderEnviron(facts.Spec, facts.Placeholders); !slices.Equal(env, told) || len(env) != 2 {
				t.Errorf("%s: the node says %q, who has no value %q", placeholder, env, told)
			}
			authorities = append(authorities, facts.CA)
		}
		if bytes.Equal(authorities[0], authorities[1]) {
			t.Error("two nodes have one authority")
		}
	}
}

func TestSharedPlaceholdersDifferBetweenPoliciesAndSeeds(t *testing.T) {
	f := sharedPolicy(t, "/nowhere", `"{base62:40}"`)
	seen := map[string]bool{}
	for _, seed := range []string{strings.Repeat("a", 32), strings.Repeat("b", 32)} {
		for _, name := range []string{"one", "two"} {
			env, err := SharedEnviron([]byte(seed), name, f)
			if err != nil {
				t.Fatal(err)
			}
			seen[env[0]] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("four placeholders are %d", len(seen))
	}
}

// What would be wrong on some node is not said at all.
func TestPlaceholdersThatNeedTheValueAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		placeholder string
		seed        []byte
		want        error
	}{
		{"shape", make([]byte, 32), ErrPlaceholderValue},
		{`"sk-{base62:*}"`, make([]byte, 32), ErrPlaceholderValue},
		{`"sk-{base62:40}"`, nil, ErrNoSharedSeed},
		{"name", nil, nil},
	} {
		if _, err := SharedEnviron(test.seed, "cluster", sharedPolicy(t, dir, test.placeholder)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.placeholder, err, test.want)
		}
	}
	r := &poolRig{t: t, dir: dir}
	for name, text := range map[string]string{"short": strings.Repeat("x", 31), "long": strings.Repeat("x", 1025)} {
		if _, err := ReadSharedSeed(r.write(name, text)); err == nil {
			t.Errorf("a %s seed is taken", name)
		}
	}
	if _, err := ReadSharedSeed(filepath.Join(dir, "none")); err == nil {
		t.Error("no seed is taken for one")
	}
}
