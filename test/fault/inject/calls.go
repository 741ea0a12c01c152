// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// names are the calls that set a session up.
var names = map[uint64]string{
	unix.SYS_CLONE: "clone", unix.SYS_CLONE3: "clone", unix.SYS_EXECVE: "execve",
	unix.SYS_UNSHARE: "unshare", unix.SYS_SETNS: "setns",
	unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount2", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_OPEN_TREE: "open_tree",
	unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_FSOPEN: "fsopen", unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount",
	unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_CHDIR: "chdir",
	unix.SYS_PRCTL: "prctl", unix.SYS_SECCOMP: "seccomp", unix.SYS_CAPSET: "capset", unix.SYS_CAPGET: "capget",
	unix.SYS_SETRESUID: "setresuid", unix.SYS_SETRESGID: "setresgid", unix.SYS_SETGROUPS: "setgroups",
	unix.SYS_SETUID: "setuid", unix.SYS_SETGID: "setgid", unix.SYS_SETSID: "setsid", unix.SYS_KEYCTL: "keyctl",
	unix.SYS_BPF: "bpf", unix.SYS_SOCKET: "socket", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_BIND: "bind",
	unix.SYS_LISTEN: "listen", unix.SYS_SETSOCKOPT: "setsockopt", unix.SYS_SENDMSG: "sendmsg_fds",
	unix.SYS_OPENAT2: "openat2", unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_DUP3: "dup3", unix.SYS_PIPE2: "pipe2",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_RENAMEAT: "renameat",
	unix.SYS_MEMFD_CREATE: "memfd_create", unix.SYS_MEMFD_SECRET: "memfd_secret", unix.SYS_MLOCK: "mlock", unix.SYS_MLOCKALL: "mlockall",
	unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset", unix.SYS_LANDLOCK_ADD_RULE: "landlock_add_rule",
	unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self",
	unix.SYS_PRLIMIT64:              "prlimit64", unix.SYS_SETRLIMIT: "prlimit64", unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_FLOCK: "flock",
	unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchown", unix.SYS_FCHMOD: "fchmod",
}

// name is the call that a thread is about to make; empty for one that sets
// nothing up. A clone is "thread" where it makes one of the same process: those
// are the Go runtime's own, which ends the process when it gets none. Of
// messages, those with descriptors count.
func name(tid int, nr uint64, args [6]uint64) string {
	called := names[nr]
	switch nr {
	case unix.SYS_CLONE:
		if args[0]&unix.CLONE_THREAD != 0 {
			return "thread"
		}
	case unix.SYS_SENDMSG:
		if word(tid, args[1]+40) == 0 { // msg_controllen of struct msghdr
			return ""
		}
	}
	return called
}

// word reads eight bytes of a tracee; 0 where there are none.
func word(tid int, at uint64) uint64 {
	var b [8]byte
	if n, err := unix.PtracePeekData(tid, uintptr(at), b[:]); err != nil || n != len(b) {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}
