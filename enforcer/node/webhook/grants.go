// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Source is where policies and their grants are read, anew for each pod: a
// mounted ConfigMap changes under a process in one step.
type Source struct {
	Policies string // the directory of NAME.yaml
	Grants   string // a file: {"NAME": ["NAMESPACE", …]}; "*" is every namespace
	Seed     string // the file of the seed that nodes share; "": there is none
}

// anywhere grants a policy to all namespaces.
const anywhere = "*"

// maxFile bounds what is read: a ConfigMap is at most 1 MiB.
const maxFile = 1 << 20

var (
	errNotGranted = errors.New("the policy is not granted to the namespace; whoever runs the cluster can grant it")
	errLarge      = errors.New("the file is larger than 1 MiB")
)

// environ is what a container in the namespace gets under the policy.
func (s Source) environ(name, namespace string) ([]string, error) {
	if name == api.None {
		return nil, nil // no credential, no way out: less than it could have
	}
	if err := s.checkGrant(name, namespace); err != nil {
		return nil, err
	}
	path := filepath.Join(s.Policies, name+".yaml")
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("policy %s: there is none of that name", name)
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	file, err := policy.Parse(path, data)
	if err == nil {
		err = file.CheckNode()
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	seed, err := s.seed()
	if err != nil {
		return nil, err
	}
	env, err := enforcer.SharedEnviron(seed, name, file)
	return append(env, trust.Env()...), err
}

func (s Source) seed() ([]byte, error) {
	if s.Seed == "" {
		return nil, nil
	}
	return enforcer.ReadSharedSeed(s.Seed)
}

// checkGrant says the same of a policy that is not granted and of one that does
// not exist, so that nobody can ask for names.
func (s Source) checkGrant(name, namespace string) error {
	data, err := read(s.Grants)
	if err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	var grants map[string][]string
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&grants); err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read grants: there is more than one value")
	}
	if namespace == "" || !slices.Contains(grants[name], namespace) && !slices.Contains(grants[name], anywhere) {
		return fmt.Errorf("policy %s, namespace %.80q: %w", name, namespace, errNotGranted)
	}
	return nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: %w", path, errLarge)
	}
	return data, err
}
