// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// posture reads back what the stages before it did, of every thread, and
// refuses anything else. A thread made meanwhile has what its maker has, and is
// looked at too.
func (p *pid1) posture() error {
	if err := p.checkThreads(); err != nil {
		return err
	}
	if err := p.checkDescriptors(); err != nil {
		return err
	}
	return checkProcess()
}

func (p *pid1) checkThreads() error {
	want := p.body.Spec.User.status()
	seen := make(map[string]bool)
	for more := true; more; {
		tasks, err := names("/proc/self/task")
		if err != nil {
			return err
		}
		more = false
		for _, task := range tasks {
			if seen[task] {
				continue
			}
			seen[task], more = true, true
			if err := p.checkTask("/proc/self/task/"+task, want); err != nil {
				return fmt.Errorf("thread %s: %w", task, err)
			}
		}
	}
	return nil
}

// status is what /proc/self/task/*/status must say (proc_pid_status(5)).
func (u User) status() map[string]string {
	const none = "0000000000000000"
	groups := slices.Clone(u.Groups)
	slices.Sort(groups) // as setgroups does
	want := map[string]string{
		"Uid":        strings.TrimSuffix(strings.Repeat(strconv.Itoa(u.UID)+" ", 4), " "),
		"Gid":        strings.TrimSuffix(strings.Repeat(strconv.Itoa(u.GID)+" ", 4), " "),
		"Groups":     strings.Trim(fmt.Sprint(groups), "[]"),
		"NoNewPrivs": "1",
		"Seccomp":    "2",
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		want[set] = none
	}
	return want
}

// parseStatus reads the fields of a status file, their values parted by one
// space.
func parseStatus(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func (p *pid1) checkTask(dir string, want map[string]string) error {
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	got := parseStatus(string(text))
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			return fmt.Errorf("%s is %q, not %q: %w", key, got[key], want[key], unix.EPERM)
		}
	}
	spaces, err := namespaces(dir + "/ns")
	if err != nil {
		return err
	}
	for kind, inode := range spaces {
		if inode == p.body.Outside[kind] {
			return fmt.Errorf("namespace %s is the host's: %w", kind, unix.EPERM)
		}
	}
	if spaces["net"] != p.body.Net {
		return fmt.Errorf("namespace net is not the session's: %w", unix.EPERM)
	}
	return nil
}

// checkDescriptors refuses a descriptor above 2 that the agent would inherit,
// and a 0, 1 or 2 that is none of what stdio lets pass.
func (p *pid1) checkDescriptors() error {
	fds, err := names("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range fds {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == unix.EBADF {
			continue // the one that listed them
		}
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		if fd >= controlFD && flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("descriptor %d would reach the agent: %w", fd, unix.EPERM)
		}
		if fd < controlFD {
			manner, err := judge(fd)
			if err != nil || manner == relayed || manner == terminal && p.slave < 0 {
				return fmt.Errorf("descriptor %d is not for the agent: %w", fd, unix.EPERM)
			}
		}
	}
	return nil
}

// checkProcess looks at what all threads share.
func checkProcess() error {
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		return fmt.Errorf("dumpable is %d: %w", dumpable, unix.EPERM)
	}
	var death int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&death)), 0, 0, 0); err != nil || death != int32(unix.SIGKILL) {
		return fmt.Errorf("signal on the supervisor's death is %d: %w", death, unix.EPERM)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Max > noCore.Max {
		return fmt.Errorf("core limit is %d: %w", core.Max, unix.EPERM)
	}
	if pid := unix.Getpid(); pid != 1 {
		return fmt.Errorf("process id is %d, not 1: %w", pid, unix.EPERM)
	}
	return nil
}

// names lists a folder.
func names(dir string) ([]string, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Readdirnames(-1)
}
