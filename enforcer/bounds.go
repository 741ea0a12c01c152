// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// What a policy that is not root's may not do. The agent of one session must
// not be able to write the policy of the next, and whoever is not root must not
// be able to send a credential that root keeps to a place of their own.
var (
	ErrPolicyInReach = errors.New("the agent can write it")
	ErrSystemd       = errors.New("only a policy that is root's may name a credential of systemd's")
	ErrStoredTarget  = errors.New("only a policy that is root's may say where the host of a stored credential is")
)

// checkPolicy refuses a policy of the user's own that lies, or names roots that
// lie, where the agent writes for real.
func (s *supply) checkPolicy() error {
	file := s.config.Policy
	if file == nil {
		return nil
	}
	if err := s.checkPassword(file); err != nil || s.config.Trusted {
		return err
	}
	inReach := s.absolute(slices.Concat([]string{"."}, file.Filesystem.Write, s.config.Write, profileState(s.config.Profile)))
	names := []string{file.Name}
	for _, h := range file.Hosts {
		if h.CAFile != "" {
			names = append(names, h.CAFile)
		}
	}
	for _, name := range names {
		path, err := filepath.Abs(name)
		if err != nil {
			return fmt.Errorf("policy %s: %w", name, err)
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		for _, dir := range inReach {
			if real, err := filepath.EvalSymlinks(dir); err == nil {
				dir = real
			}
			if path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
				return fmt.Errorf("policy %s: %w", name, ErrPolicyInReach)
			}
		}
	}
	return nil
}

// checkTargets refuses to dial another place than the name's own for a
// credential from the store, or to trust another root for it, on the word of a
// policy that is not root's.
func (s *supply) checkTargets(spec *policy.Session) error {
	if s.config.Trusted {
		return nil
	}
	for _, c := range spec.Credentials {
		if !strings.HasPrefix(c.Source, string(secret.KindStore)+":") {
			continue
		}
		for _, target := range spec.Hosts {
			if covers(c.Hosts, target.Host) {
				return fmt.Errorf("%s: host %q, credential %q: %w", target.Rule, target.Host, c.Name, ErrStoredTarget)
			}
		}
	}
	return nil
}

// covers tells whether host is one of the patterns. A host that is a pattern
// itself counts when the two could ever mean the same name.
func covers(patterns []string, host string) bool {
	bare := strings.TrimPrefix(host, "*.")
	for _, p := range patterns {
		suffix := strings.TrimPrefix(p, "*.")
		if p == host || p != suffix && (bare == suffix || strings.HasSuffix(bare, "."+suffix)) ||
			host != bare && (suffix == bare || strings.HasSuffix(suffix, "."+bare)) {
			return true
		}
	}
	return false
}
