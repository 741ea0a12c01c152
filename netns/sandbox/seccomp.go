// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What the filter answers. An errno is added to deny.
const (
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
	deny  = unix.SECCOMP_RET_ERRNO
)

// Offsets in struct seccomp_data (seccomp(2)), on little-endian machines: of an
// argument the low half, which is all that a call with an int looks at.
const (
	offNumber  = 0
	offArch    = 4
	offArg0    = 16
	offArg1    = 24
	offArg2    = 32
	offArg1Low = offArg1
)

// newest is the last system call that was judged here (Linux 6.19). Later ones
// answer ENOSYS, as they do on the kernels of today: a filter of what is refused
// would let them through.
const newest = unix.SYS_RSEQ_SLICE_YIELD

// namespaceFlags are those of clone(2) that make a namespace.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// refusal is system calls that answer errno, unless the session permits what
// unless names.
type refusal struct {
	errno  syscall.Errno
	unless string
	calls  []uint32
}

// refusals, with the reason where the call's name is not one. Those that
// programs try before they fall back answer ENOSYS.
var refusals = []refusal{
	{unix.EPERM, PermitNestedSandbox, []uint32{ // what is covered stays covered
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE,
		unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_FSCONFIG,
		unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_UNSHARE, unix.SYS_SETNS,
	}},
	// Its flags are in memory, where a filter cannot look; libraries fall back.
	{unix.ENOSYS, "", []uint32{unix.SYS_CLONE3}},
	// A ring makes sockets past the filter: IORING_OP_SOCKET (measured).
	{unix.ENOSYS, PermitIOUring, []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}},
	{unix.EPERM, PermitPtrace, []uint32{unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV}},
	{unix.EPERM, "", []uint32{unix.SYS_PIDFD_GETFD, unix.SYS_KCMP}},
	// User keyrings are shared over all namespaces but the user's.
	{unix.EPERM, "", []uint32{unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY}},
	{unix.EPERM, "", []uint32{unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_SYSLOG}},
	// A handle opens a file past every cover (shocker, 2014).
	{unix.EPERM, "", []uint32{unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT}},
	{unix.EPERM, "", []uint32{ // of the machine, not of a process
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
		unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
		unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_NFSSERVCTL, unix.SYS_VHANGUP,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	}},
	{unix.EPERM, "", nativeCalls},
}

// Values of an argument.
var (
	families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}

	// Protocols that the kernel loads a module for before a hook can refuse them:
	// DCCP, L2TP, SCTP, SMC.
	modules = []uint32{unix.IPPROTO_DCCP, unix.IPPROTO_L2TP, unix.IPPROTO_SCTP, 256}

	// The default, and asking which it is.
	personalities = []uint32{0, 0xffffffff}

	// Typing into a terminal and its selection; loading a line discipline.
	ioctls = []uint32{unix.TIOCSTI, tiocLinux, unix.TIOCSETD}
)

// tiocLinux is TIOCLINUX of asm-generic/ioctls.h, which x/sys lacks.
const tiocLinux = 0x541c

// program is a filter in the making.
type program []bpf.Instruction

// filter is the session's filter. The number stays in the accumulator until a
// block about arguments, which ends in an answer.
func filter(permit func(string) bool) []bpf.Instruction {
	p := program{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: 1},
		bpf.RetConstant{Val: kill}, // another architecture's numbers mean other calls
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		// Later calls and, on amd64, those of x32 (0x40000000).
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: newest, SkipFalse: 1},
		bpf.RetConstant{Val: deny | uint32(unix.ENOSYS)},
	}
	for _, r := range refusals {
		if r.unless != "" && permit(r.unless) {
			continue
		}
		for _, number := range r.calls {
			p.on(number, bpf.RetConstant{Val: deny | uint32(r.errno)})
		}
	}
	p.on(unix.SYS_SOCKET, sockets()...)
	p.on(unix.SYS_SOCKETPAIR, sockets()...)
	p.on(unix.SYS_IOCTL, oneOf(offArg1Low, ioctls, deny|uint32(unix.EPERM), allow)...)
	p.on(unix.SYS_PERSONALITY, oneOf(offArg0, personalities, allow, deny|uint32(unix.EPERM))...)
	if !permit(PermitNestedSandbox) {
		p.on(unix.SYS_CLONE,
			bpf.LoadAbsolute{Off: offArg0, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1},
			bpf.RetConstant{Val: deny | uint32(unix.EPERM)},
			bpf.RetConstant{Val: allow})
	}
	return append(p, bpf.RetConstant{Val: allow})
}

// on adds a block for one system call.
func (p *program) on(number uint32, block ...bpf.Instruction) {
	*p = append(*p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(block))})
	*p = append(*p, block...)
}

// oneOf is a block that answers hit when the argument is one of values.
func oneOf(offset uint32, values []uint32, hit, miss uint32) []bpf.Instruction {
	block := program{bpf.LoadAbsolute{Off: offset, Size: 4}}
	for i, v := range values {
		block = append(block, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(block, bpf.RetConstant{Val: miss}, bpf.RetConstant{Val: hit})
}

// sockets is the block of socket(2): families that stay inside the namespace,
// and of netlink routes alone, which getaddrinfo asks.
func sockets() []bpf.Instruction {
	block := oneOf(offArg0, families, allow, deny|uint32(unix.EAFNOSUPPORT))
	other := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_NETLINK, SkipTrue: 3},
		bpf.LoadAbsolute{Off: offArg2, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.NETLINK_ROUTE, SkipTrue: 1},
		bpf.RetConstant{Val: allow},
	}
	internet := append([]bpf.Instruction{bpf.LoadAbsolute{Off: offArg0, Size: 4}},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_INET6, SkipTrue: uint8(len(modules)) + 3})
	protocols := oneOf(offArg2, modules, deny|uint32(unix.EPROTONOSUPPORT), allow)
	return slices.Concat(other, internet, protocols, block)
}

// seccomp puts the filter on all threads at once.
func (p *pid1) seccomp() error {
	raw, err := bpf.Assemble(filter(p.body.Spec.permits))
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("set filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("set filter: thread %d has another: %w", thread, unix.EBUSY)
	}
	return nil
}
