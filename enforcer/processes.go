// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// processLimit is the most processes and threads that an agent may have at
// once. The kernel counts threads. The largest builds and browsers seen need
// some 2,000; a quarter of the 32,768 process ids that a kernel has at least
// (PID_MAX_DEFAULT) leaves the host enough to end a fork bomb.
const processLimit = 8192

// limitProcesses puts processLimit on the agent's cgroup, by the pids controller
// of cgroup v2 or, where that is bound to v1, by a directory of ours there. A
// host that has none leaves the agent without a limit (docs/KERNEL.md).
func (c *cgroup) limitProcesses() error {
	limit := []byte(strconv.Itoa(processLimit))
	enabled, err := enablePIDs(filepath.Dir(filepath.Dir(c.path)), filepath.Dir(c.path), c.path)
	if err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	if enabled {
		if err := os.WriteFile(filepath.Join(c.path, "agent", "pids.max"), limit, 0); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
		return nil
	}
	root, err := pidsRoot()
	if err != nil || root == "" {
		return err
	}
	c.pids = filepath.Join(root, cgroupParent, filepath.Base(c.path))
	if err := os.MkdirAll(c.pids, 0o755); err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.pids, "pids.max"), limit, 0); err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	return nil
}

// enablePIDs hands the pids controller of cgroup v2 down from each directory to
// those below it. It cannot be had where it is bound to v1, and in a container
// whose processes stand in what it takes for the root (EBUSY).
func enablePIDs(dirs ...string) (bool, error) {
	controllers, err := os.ReadFile(filepath.Join(dirs[0], "cgroup.controllers"))
	if err != nil {
		return false, err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "pids") {
		return false, nil
	}
	for _, dir := range dirs {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+pids"), 0)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// hold puts the process, which is the agent's init and has started nothing yet,
// where the limit is. In cgroup v2 it was born there.
func (c *cgroup) hold(pid int) error {
	if c.pids == "" {
		return nil
	}
	err := os.WriteFile(filepath.Join(c.pids, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has failed by itself, and says why when it is to launch
	}
	if err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	return nil
}

// pidsRoot finds the mount of the pids controller of cgroup v1; empty where
// there is none.
func pidsRoot() (string, error) {
	mounts, err := mountinfo.Read()
	if err != nil {
		return "", fmt.Errorf("find cgroup v1: %w", err)
	}
	for _, m := range mounts {
		if m.Kind == "cgroup" && m.Root == "/" && slices.Contains(strings.Split(m.Options, ","), "pids") {
			return m.Path, nil
		}
	}
	return "", nil
}

// removeLimit removes what limitProcesses made for session id outside cgroup
// v2. By then none of its processes is left.
func removeLimit(id string) error {
	root, err := pidsRoot()
	if err != nil || root == "" {
		return err
	}
	if err := os.Remove(filepath.Join(root, cgroupParent, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}
