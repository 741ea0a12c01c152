// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// policyFile is one entry of the directory of policies, as read.
type policyFile struct {
	name string
	file *policy.File
	err  error // nobody may use it, and this is why
}

const policySuffix = ".yaml"

// none is the policy that no file says.
const none = "version: 1\n"

var (
	errReserved   = errors.New("the name is reserved: every node has this policy, without credentials and without a way out")
	errPolicyName = errors.New("a policy's name is of a-z, 0-9 and -, at most 63, and begins and ends with no -")
	errPolicyMode = errors.New("the file is not root's, or others may write it")
	errDirMode    = errors.New("the directory is not root's, or others may write it")
)

// readPolicies reads the directory. An error is about the directory; what is
// wrong with one file is in its entry. Where there is no directory there is
// none but none.
func readPolicies(dir string) ([]policyFile, error) {
	all := []policyFile{parsePolicy(api.None, "built-in policy "+api.None, []byte(none))}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = checkPolicyDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	for _, e := range entries {
		// A mounted ConfigMap holds links to files and hidden folders.
		name, ok := strings.CutSuffix(e.Name(), policySuffix)
		if ok && name != "" && name[0] != '.' {
			all = append(all, readPolicy(name, filepath.Join(dir, e.Name())))
		}
	}
	return all, nil
}

// checkPolicyDir refuses a directory in which others could put a policy. A
// file system that is mounted read-only, as ConfigMaps are, is as good.
func checkPolicyDir(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_RDONLY == 0 && (st.Uid != 0 || st.Mode&0o022 != 0) {
		return fmt.Errorf("%s: %w", dir, errDirMode)
	}
	return nil
}

func readPolicy(name, path string) policyFile {
	switch {
	case name == api.None:
		return policyFile{name: name + policySuffix, err: fmt.Errorf("%s: %w", path, errReserved)}
	case !api.ValidPolicy(name):
		return policyFile{name: name, err: fmt.Errorf("%q: %w", path, errPolicyName)}
	}
	data, trusted, err := enforcer.Invoker{}.ReadPolicy(path)
	if err == nil && !trusted {
		err = fmt.Errorf("%s: %w", path, errPolicyMode)
	}
	if err != nil {
		return policyFile{name: name, err: err}
	}
	return parsePolicy(name, path, data)
}

func parsePolicy(name, path string, data []byte) policyFile {
	f := policyFile{name: name}
	f.file, f.err = policy.Parse(path, data)
	return f
}
