// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// ErrNoPolicy is returned by Flags for a policy that no daemon has written
// files for.
var ErrNoPolicy = errors.New("the node has no such policy")

// Environment returns what Write gave containers of a policy.
func (l Layout) Environment(policy string) ([]string, error) {
	if !api.ValidPolicy(policy) {
		return nil, fmt.Errorf("policy name %.80q is not one that a policy can have", policy)
	}
	data, err := os.ReadFile(filepath.Join(l.shared(), policy, envFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("policy %s: %w", policy, ErrNoPolicy)
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", policy, err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// mountFlags say how a command line names a read-only bind.
var mountFlags = map[string]func(Mount) string{
	"docker": func(m Mount) string { return "type=bind,source=" + m.Source + ",target=" + m.Target + ",readonly" },
	"podman": func(m Mount) string { return "type=bind,source=" + m.Source + ",target=" + m.Target + ",ro=true" },
	"ctr":    func(m Mount) string { return "type=bind,src=" + m.Source + ",dst=" + m.Target + ",options=rbind:ro" },
}

// Runtimes lists what Flags has flags for.
func Runtimes() []string { return []string{"ctr", "docker", "podman"} }

// Flags is what the device does, as arguments for a runtime that does not read
// specifications. No argument holds a space.
func (l Layout) Flags(runtime, policy string) ([]string, error) {
	form, ok := mountFlags[runtime]
	if !ok {
		return nil, fmt.Errorf("runtime %.40q is none of %q", runtime, Runtimes())
	}
	if _, err := l.Environment(policy); err != nil {
		return nil, err
	}
	flags := []string{"--env-file", filepath.Join(l.shared(), policy, envFile)}
	for _, m := range l.Mounts(policy) {
		flags = append(flags, "--mount", form(m))
	}
	return slices.Clip(flags), nil
}
