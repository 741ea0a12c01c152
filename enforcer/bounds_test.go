// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

func TestPolicyInReachOfTheAgentIsRefused(t *testing.T) {
	home := t.TempDir()
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(home, "policy.yaml")
	for _, path := range []string{outside, filepath.Join(work, "policy.yaml")} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(work, "policy.yaml"), filepath.Join(home, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		file    policy.File
		trusted bool
		write   []string
		refused bool
	}{
		{"outside", policy.File{Name: outside}, false, nil, false},
		{"in the working directory", policy.File{Name: filepath.Join(work, "policy.yaml")}, false, nil, true},
		{"root's, in the working directory", policy.File{Name: filepath.Join(work, "policy.yaml")}, true, nil, false},
		{"a link into the working directory", policy.File{Name: filepath.Join(home, "link.yaml")}, false, nil, true},
		{"in a path of --write", policy.File{Name: outside}, false, []string{home}, true},
		{"in a path of its own", policy.File{Name: outside, Filesystem: policy.Filesystem{Write: []string{home}}}, false, nil, true},
		{"roots in the working directory", policy.File{Name: outside, Hosts: []policy.HostTarget{{CAFile: filepath.Join(work, "ca.pem")}}}, false, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Session{supply: supply{config: Config{Policy: &test.file, Trusted: test.trusted, Dir: work, Write: test.write, User: User{Home: home}}}}
			if err := s.checkPolicy(); errors.Is(err, ErrPolicyInReach) != test.refused {
				t.Errorf("got %v, refused wanted: %v", err, test.refused)
			}
		})
	}
}

func TestStoredCredentialGoesWhereItsNameIs(t *testing.T) {
	tests := []struct {
		name          string
		source, host  string
		target        string
		trusted, deny bool
	}{
		{"stored", "store:a", "api.a.test", "api.a.test", false, true},
		{"stored, root's policy", "store:a", "api.a.test", "api.a.test", true, false},
		{"the user's own", "file:/home/a/key", "api.a.test", "api.a.test", false, false},
		{"another host", "store:a", "api.a.test", "docs.a.test", false, false},
		{"wildcard credential", "store:a", "*.a.test", "api.a.test", false, true},
		{"wildcard target", "store:a", "api.a.test", "*.a.test", false, true},
		{"both", "store:a", "*.b.a.test", "*.a.test", false, true},
		{"apex", "store:a", "*.a.test", "b.test", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Session{supply: supply{config: Config{Trusted: test.trusted}}}
			err := s.checkTargets(&policy.Session{
				Credentials: []policy.Credential{{Name: "a", Source: test.source, Hosts: []string{test.host}}},
				Hosts:       []policy.HostTarget{{Host: test.target, Connect: "127.0.0.1:9", Rule: "p:1"}},
			})
			if errors.Is(err, ErrStoredTarget) != test.deny {
				t.Errorf("got %v, deny wanted: %v", err, test.deny)
			}
		})
	}
}
