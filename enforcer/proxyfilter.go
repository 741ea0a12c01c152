// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// Calls by who makes them. Those whose arguments matter are in confinedFilter
// and proxyFilter.
var (
	// Go's runtime: threads, time, memory, signals, the poller.
	runtimeCalls = []uint32{
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
		unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
		unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_MINCORE, unix.SYS_GETRANDOM,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
		unix.SYS_GETPID, unix.SYS_GETTID,
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	}
	// Files, for reading, and pipes.
	readCalls = []uint32{
		unix.SYS_READ, unix.SYS_READV, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_FCNTL,
		unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_LSEEK, unix.SYS_PREAD64,
	}
	// A credential's memory, also of one that is renewed.
	memoryCalls = []uint32{unix.SYS_MEMFD_SECRET, unix.SYS_FTRUNCATE, unix.SYS_MLOCK, unix.SYS_MUNLOCK}
	// The rest of giveUp.
	lastCalls = []uint32{unix.SYS_LANDLOCK_RESTRICT_SELF}

	// Connections, and the copying of one into another.
	connectionCalls = []uint32{
		unix.SYS_ACCEPT4, unix.SYS_CONNECT, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
		unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
		unix.SYS_PIPE2, unix.SYS_SPLICE, unix.SYS_SENDFILE,
		unix.SYS_BIND, // netlink, and the question whether the host has IPv6
	}
)

// foreign are calls that no proxy and no helper makes that is still ours: they
// end it, and with it the session. Everything else that is not listed answers
// EPERM: a runtime or library of tomorrow may try it.
var foreign = []uint32{
	// another program, another process
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	// large, and not about serving
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	// another view of the machine
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT, unix.SYS_UMOUNT2,
	unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT,
	unix.SYS_FSCONFIG, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	// of the machine
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
	unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
}

// proxyFilter is the proxy's filter; pid is its own.
func proxyFilter(pid int) fence.Program {
	p := confinedFilter(pid)
	p.On(unix.SYS_OPENAT, onlyReading()...)
	p.Answer(fence.Allow, connectionCalls...)
	p.On(unix.SYS_SOCKET, proxySockets()...)
	return endConfined(p)
}

// confinedFilter is what the filters of the proxy and the helpers have in common.
func confinedFilter(pid int) fence.Program {
	p := fence.New()
	p.Answer(fence.Allow, slices.Concat(runtimeCalls, readCalls, memoryCalls, lastCalls)...)
	eperm := fence.Deny(unix.EPERM)
	// Nothing that was data becomes code.
	for _, number := range []uint32{unix.SYS_MMAP, unix.SYS_MPROTECT} {
		p.On(number, fence.Bits(fence.Arg2, unix.PROT_EXEC, eperm, fence.Allow)...)
	}
	p.On(unix.SYS_CLONE, fence.Bits(fence.Arg0, unix.CLONE_THREAD, fence.Allow, fence.Kill)...)
	p.Answer(fence.Deny(unix.ENOSYS), unix.SYS_CLONE3) // its flags are in memory, out of sight
	p.On(unix.SYS_TGKILL, fence.OneOf(fence.Arg0, []uint32{uint32(pid)}, fence.Allow, eperm)...)
	// The runtime names its memory (PR_SET_VMA).
	p.On(unix.SYS_PRCTL, fence.OneOf(fence.Arg0, []uint32{unix.PR_SET_VMA, unix.PR_GET_DUMPABLE}, fence.Allow, eperm)...)
	return p
}

// endConfined answers whatever is left.
func endConfined(p fence.Program) fence.Program {
	p.Answer(fence.Kill, foreign...)
	p.End(fence.Deny(unix.EPERM))
	return p
}

// onlyReading is the block of openat(2) where nothing is written.
func onlyReading() []bpf.Instruction {
	return fence.Bits(fence.Arg2, unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, fence.Deny(unix.EPERM), fence.Allow)
}

// proxySockets is the block of socket(2): TCP and UDP, and the netlink of
// routes, which tells the host's own addresses. The one unix socket is there
// already.
func proxySockets() []bpf.Instruction {
	refused := fence.Deny(unix.EAFNOSUPPORT)
	transports := fence.OneOf(fence.Arg2, []uint32{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP}, fence.Allow, fence.Deny(unix.EPROTONOSUPPORT))
	routes := fence.OneOf(fence.Arg2, []uint32{unix.NETLINK_ROUTE}, fence.Allow, refused)
	block := []bpf.Instruction{bpf.LoadAbsolute{Off: fence.Arg0, Size: 4}}
	for _, f := range []struct {
		family uint32
		then   []bpf.Instruction
	}{{unix.AF_INET, transports}, {unix.AF_INET6, transports}, {unix.AF_NETLINK, routes}} {
		block = append(block, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: f.family, SkipTrue: uint8(len(f.then))})
		block = append(block, f.then...)
	}
	return append(block, bpf.RetConstant{Val: refused})
}
