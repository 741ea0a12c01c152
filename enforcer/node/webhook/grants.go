// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/grants"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Source is where policies and their grants are read, anew for each pod: a
// mounted ConfigMap changes under a process in one step.
type Source struct {
	Policies string // the directory of NAME.yaml
	Grants   string // the file of [grants.Check]
	Seed     string // the file of the seed that nodes share; "": there is none
}

// maxFile bounds what is read: a ConfigMap is at most 1 MiB.
const maxFile = 1 << 20

var errLarge = errors.New("the file is larger than 1 MiB")

// environ is what a container in the namespace gets under the policy.
func (s Source) environ(name, namespace string) ([]string, error) {
	if name == api.None {
		return nil, nil // no credential, no way out: less than it could have
	}
	if err := grants.Check(s.Grants, name, namespace); err != nil {
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
