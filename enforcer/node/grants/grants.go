// SPDX-License-Identifier: Apache-2.0

// Package grants reads who may use which policy of a cluster:
//
//	{"coder": ["team-a"], "reader": ["*"]}
//
// It guarantees that a policy is granted to the namespaces that the file names
// and to no other, and that a file which cannot be read grants nothing. What it
// says of a policy that is not granted it says of one that does not exist, so
// that nobody can ask for names.
package grants

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// ErrNotGranted is returned for a namespace that the file does not name.
var ErrNotGranted = errors.New("the policy is not granted to the namespace; whoever runs the cluster can grant it")

// anywhere grants a policy to all namespaces.
const anywhere = "*"

// maxFile bounds what is read: a ConfigMap is at most 1 MiB.
const maxFile = 1 << 20

// Check reads the file anew: a mounted ConfigMap changes under a process in one
// step. What is longer than 1 MiB does not parse.
func Check(path, policy, namespace string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	defer file.Close()
	var granted map[string][]string
	decoder := json.NewDecoder(io.LimitReader(file, maxFile))
	if err := decoder.Decode(&granted); err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read grants: there is more than one value")
	}
	if namespace == "" || !slices.Contains(granted[policy], namespace) && !slices.Contains(granted[policy], anywhere) {
		return fmt.Errorf("policy %s, namespace %.80q: %w", policy, namespace, ErrNotGranted)
	}
	return nil
}
