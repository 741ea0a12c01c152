// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// cgroupParent is the name of our directory at the root of the cgroup v2
// hierarchy. It is made by root at the top and never inside a delegated
// subtree such as user@.service: the owner of such a subtree can move
// processes out of it.
const cgroupParent = "phantom-ns"

// ErrNoCgroup2 is returned when no cgroup v2 hierarchy is mounted.
var ErrNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")

// Cgroup2Root finds the cgroup v2 mount, ErrNoCgroup2 where there is none.
// Hybrid hosts mount it beside the v1 controllers (often
// /sys/fs/cgroup/unified), so it is looked up and never assumed. Only a mount of
// the root of this process's hierarchy counts, which in a container with a
// cgroup namespace is the container's own.
func Cgroup2Root() (string, error) {
	return findCgroup2(func(root, _ string) bool { return root == "/" })
}

// HostCgroup2Root finds a mount of the machine's own root, below which every
// process is: a container's would hold nobody but itself. Only the machine's
// has no cgroup.type (cgroup-v2.rst, "Core Interface Files").
func HostCgroup2Root() (string, error) {
	path, err := findCgroup2(func(_, path string) bool {
		if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err != nil {
			return false
		}
		_, err := os.Lstat(filepath.Join(path, "cgroup.type"))
		return errors.Is(err, fs.ErrNotExist)
	})
	if errors.Is(err, ErrNoCgroup2) {
		err = fmt.Errorf("%w with the machine's root; in a container, mount the machine's /sys/fs/cgroup", err)
	}
	return path, err
}

// findCgroup2 goes through the mounts of cgroup v2: what of it is mounted, and
// where.
func findCgroup2(is func(root, path string) bool) (string, error) {
	mounts, err := mountinfo.Read()
	if err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	for _, m := range mounts {
		if m.Kind == "cgroup2" && is(m.Root, m.Path) {
			return m.Path, nil
		}
	}
	return "", fmt.Errorf("find cgroup v2: %w", ErrNoCgroup2)
}

// cgroup is one session's directory below cgroupParent. Its two leaves keep
// the agent, to which the BPF programs are attached, apart from our own
// processes.
//
// Its directory is locked for as long as the supervisor lives. Unlike the lock
// of the state directory that one is seen by every process of the machine,
// also where /run is another one.
type cgroup struct {
	path    string
	lock    *os.File
	agent   *os.File
	service *os.File
	pids    string // directory of cgroup v1 that limits processes; empty: none
}

// newCgroup makes the directory of session id with both leaves.
func newCgroup(id string) (*cgroup, error) {
	root, err := Cgroup2Root()
	if err != nil {
		return nil, err
	}
	c := &cgroup{path: filepath.Join(root, cgroupParent, id)}
	if err := os.MkdirAll(c.path, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if c.lock, err = lockCgroup(c.path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if c.agent, err = makeLeaf(filepath.Join(c.path, "agent")); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if c.service, err = makeLeaf(filepath.Join(c.path, "service")); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.limitProcesses(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func makeLeaf(path string) (*os.File, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return f, nil
}

// Close kills what is left in the cgroup and removes it.
func (c *cgroup) Close() error {
	for _, f := range []*os.File{c.agent, c.service} {
		if f != nil {
			f.Close()
		}
	}
	err := removeCgroup(c.path)
	if c.pids != "" {
		err = errors.Join(err, removeLimit(filepath.Base(c.path)))
	}
	if c.lock != nil {
		c.lock.Close()
	}
	return err
}

// lockCgroup takes the lock of a session's directory; errBusy when its
// supervisor lives.
func lockCgroup(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return dir, lockFile(dir)
}

// removeCgroup kills every process below path, waits until the kernel reports
// each directory empty, and removes them deepest first. A directory that is
// gone already is not an error.
func removeCgroup(path string) error {
	var dirs []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sweep cgroup: %w", err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := emptyCgroup(dirs[i]); err != nil {
			return err
		}
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// emptyCgroup kills the members of one cgroup and waits for cgroup.events to
// say that none is left. The kernel notifies that file by POLLPRI.
func emptyCgroup(path string) error {
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch cgroup: %w", err)
	}
	defer events.Close()
	for {
		populated, err := isPopulated(events)
		if err != nil || !populated {
			return err
		}
		if err := killCgroup(path); err != nil {
			return err
		}
		// One second bounds the wait for a member that forked between the
		// reading of cgroup.procs and the kill (kernels without cgroup.kill).
		fds := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(fds, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch cgroup: %w", err)
		}
	}
}

func isPopulated(events *os.File) (bool, error) {
	var text [256]byte
	n, err := events.ReadAt(text[:], 0)
	if n == 0 && errors.Is(err, unix.ENODEV) {
		return false, nil // removed by someone else meanwhile
	}
	if n == 0 && err != nil {
		return false, fmt.Errorf("read cgroup.events: %w", err)
	}
	return strings.Contains(string(text[:n]), "populated 1"), nil
}

// killCgroup sends SIGKILL to every member: at once where the kernel has
// cgroup.kill (5.14), one by one before.
func killCgroup(path string) error {
	err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
	if err == nil {
		return nil
	}
	procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("read cgroup.procs: %w", err)
	}
	for _, field := range strings.Fields(string(procs)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 1 || pid == os.Getpid() {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	return nil
}
