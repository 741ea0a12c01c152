// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"slices"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

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
	// Protocols of the internet families that are part of IP itself, and that the
	// hooks judge. For any other (DCCP, L2TP, SCTP, SMC …) the kernel looks for a
	// module before a hook is asked (inet_create).
	protocols = []uint32{
		0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_MPTCP,
		unix.IPPROTO_UDPLITE, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6,
	}

	// The default, and asking which it is.
	personalities = []uint32{0, 0xffffffff}

	// Typing into a terminal and its selection; loading a line discipline; a
	// copy of a subvolume of one's own, without what covers files in it.
	ioctls = []uint32{unix.TIOCSTI, tiocLinux, unix.TIOCSETD, btrfsSnapshot, btrfsSnapshot2}
)

// What x/sys lacks: TIOCLINUX of asm-generic/ioctls.h, BTRFS_IOC_SNAP_CREATE and
// BTRFS_IOC_SNAP_CREATE_V2 of linux/btrfs.h.
const (
	tiocLinux      = 0x541c
	btrfsSnapshot  = 0x50009401
	btrfsSnapshot2 = 0x50009417
)

// filter is the session's filter.
func filter(permit func(string) bool) fence.Program {
	p := fence.New()
	for _, r := range refusals {
		if r.unless == "" || !permit(r.unless) {
			p.Answer(fence.Deny(r.errno), r.calls...)
		}
	}
	p.On(unix.SYS_SOCKET, sockets()...)
	p.On(unix.SYS_SOCKETPAIR, sockets()...)
	p.On(unix.SYS_IOCTL, fence.OneOf(fence.Arg1, ioctls, fence.Deny(unix.EPERM), fence.Allow)...)
	p.On(unix.SYS_PERSONALITY, fence.OneOf(fence.Arg0, personalities, fence.Allow, fence.Deny(unix.EPERM))...)
	if !permit(PermitNestedSandbox) {
		p.On(unix.SYS_CLONE, fence.Bits(fence.Arg0, namespaceFlags, fence.Deny(unix.EPERM), fence.Allow)...)
	}
	p.End(fence.Allow)
	return p
}

// sockets is the block of socket(2): families that stay inside the namespace,
// and of netlink routes alone, which getaddrinfo asks.
func sockets() []bpf.Instruction {
	protocol := func(number uint32, block []bpf.Instruction) []bpf.Instruction {
		return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(block))}}, block...)
	}
	internet := fence.OneOf(fence.Arg2, protocols, fence.Allow, fence.Deny(unix.EPROTONOSUPPORT))
	routes := fence.OneOf(fence.Arg2, []uint32{unix.NETLINK_ROUTE}, fence.Allow, fence.Deny(unix.EAFNOSUPPORT))
	return slices.Concat(
		[]bpf.Instruction{bpf.LoadAbsolute{Off: fence.Arg0, Size: 4}},
		protocol(unix.AF_INET, internet), protocol(unix.AF_INET6, internet), protocol(unix.AF_NETLINK, routes),
		protocol(unix.AF_UNIX, []bpf.Instruction{bpf.RetConstant{Val: fence.Allow}}),
		[]bpf.Instruction{bpf.RetConstant{Val: fence.Deny(unix.EAFNOSUPPORT)}})
}

// seccomp puts the filter on all threads at once.
func (p *pid1) seccomp() error {
	if err := p.checkRings(); err != nil {
		return err
	}
	return fence.Install(filter(p.body.Spec.permits))
}
