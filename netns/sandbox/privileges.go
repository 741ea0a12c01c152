// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// privileges gives up everything that is left, on all threads: Go's runtime has
// made some, and ids and capabilities are each thread's own. The bounding set,
// no_new_privs and the keyring are gone since shed.
//
// The order is part of it: groups before the uid, which takes the right to set
// them; PDEATHSIG and the dumpable flag after the uid, whose change resets
// both (prctl(2), commit_creds).
func (p *pid1) privileges() error {
	user := p.body.Spec.User
	if err := forbidCore(); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if limit := p.body.Spec.Memlock; limit != nil {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, limit); err != nil {
			return fmt.Errorf("limit locked memory: %w", err)
		}
	}
	if err := syscall.Setgroups(user.Groups); err != nil {
		return fmt.Errorf("set groups %v: %w", user.Groups, err)
	}
	if err := syscall.Setresgid(user.GID, user.GID, user.GID); err != nil {
		return fmt.Errorf("set gid %d: %w", user.GID, err)
	}
	if err := syscall.Setresuid(user.UID, user.UID, user.UID); err != nil {
		return fmt.Errorf("set uid %d: %w", user.UID, err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	// A supervisor that died before this is noticed by the end of its socket.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("die with the supervisor: %w", err)
	}
	if err := markDescriptors(); err != nil {
		return fmt.Errorf("mark descriptors: %w", err)
	}
	// As the user: root could enter folders that the user cannot.
	if err := unix.Chdir(p.body.Spec.Dir); err != nil {
		return fmt.Errorf("enter working directory %q: %w", p.body.Spec.Dir, err)
	}
	return nil
}

// noCore is the limit of core files, in bytes. 0 forbids the file but not a
// core_pattern that is a pipe, whose program runs as root on the host; 1 is the
// kernel's own sign for neither (fs/coredump.c: "has RLIMIT_CORE set to 1"). One
// that is a socket asks for no limit (docs/THREATS.md).
var noCore = unix.Rlimit{Cur: 1, Max: 1}

// forbidCore sets noCore. Where the limit is 0 already (sudo sets that) and may
// not be raised, as in a container, it stays.
func forbidCore() error {
	err := unix.Setrlimit(unix.RLIMIT_CORE, &noCore)
	if errors.Is(err, unix.EPERM) {
		err = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}
	return err
}

// markDescriptors makes everything above the standard streams close-on-exec,
// also what the supervisor inherited without that mark.
func markDescriptors() error {
	err := unix.CloseRange(controlFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	fds, err := names("/proc/self/fd") // 5.10 has no CLOSE_RANGE_CLOEXEC (5.11)
	if err != nil {
		return err
	}
	for _, name := range fds {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return err
		}
		if fd >= controlFD {
			unix.CloseOnExec(fd) // posture looks whether it worked
		}
	}
	return nil
}

// dropCapabilities empties the permitted, effective and inheritable sets, and
// with the last the ambient one.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
