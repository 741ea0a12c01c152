// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// call is struct seccomp_data as bpf.VM reads it: 32-bit words, each in the
// network's byte order, at the offsets of a little-endian machine.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

func (c call) data() []byte {
	words := []uint32{c.number, c.arch, 0, 0}
	for _, a := range c.args {
		words = append(words, uint32(a), uint32(a>>32))
	}
	var data []byte
	for _, w := range words {
		data = binary.BigEndian.AppendUint32(data, w)
	}
	return data
}

// run gives the verdict of the filter on c.
func run(t *testing.T, c call, permits ...string) uint32 {
	t.Helper()
	vm, err := bpf.NewVM(filter(func(name string) bool { return slices.Contains(permits, name) }))
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := vm.Run(c.data())
	if err != nil {
		t.Fatal(err)
	}
	return uint32(verdict)
}

const (
	allow = fence.Allow
	kill  = fence.Kill

	eperm           = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys          = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	eafnosupport    = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	eprotonosupport = unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)
)

func TestFilter(t *testing.T) {
	const high = 0xffffffff << 32 // what the kernel ignores of an int
	for name, c := range map[string]struct {
		number  uint32
		args    [6]uint64
		permits []string
		want    uint32
	}{
		"read":                         {unix.SYS_READ, [6]uint64{}, nil, allow},
		"kill":                         {unix.SYS_KILL, [6]uint64{}, nil, allow},
		"seccomp":                      {unix.SYS_SECCOMP, [6]uint64{}, nil, allow},
		"landlock":                     {unix.SYS_LANDLOCK_CREATE_RULESET, [6]uint64{}, nil, allow},
		"mount":                        {unix.SYS_MOUNT, [6]uint64{}, nil, eperm},
		"mount permitted":              {unix.SYS_MOUNT, [6]uint64{}, []string{PermitNestedSandbox}, allow},
		"open_tree_attr":               {unix.SYS_OPEN_TREE_ATTR, [6]uint64{}, nil, eperm},
		"unshare":                      {unix.SYS_UNSHARE, [6]uint64{}, nil, eperm},
		"unshare permitted":            {unix.SYS_UNSHARE, [6]uint64{}, []string{PermitNestedSandbox}, allow},
		"setns with another permit":    {unix.SYS_SETNS, [6]uint64{}, []string{PermitPtrace, PermitIOUring}, eperm},
		"clone of a thread":            {unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, nil, allow},
		"clone of a process":           {unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, nil, allow},
		"clone of a user namespace":    {unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, nil, eperm},
		"clone, permitted":             {unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, []string{PermitNestedSandbox}, allow},
		"clone3":                       {unix.SYS_CLONE3, [6]uint64{}, []string{PermitNestedSandbox}, enosys},
		"io_uring":                     {unix.SYS_IO_URING_SETUP, [6]uint64{}, nil, enosys},
		"io_uring permitted":           {unix.SYS_IO_URING_ENTER, [6]uint64{}, []string{PermitIOUring}, allow},
		"ptrace":                       {unix.SYS_PTRACE, [6]uint64{}, nil, eperm},
		"ptrace permitted":             {unix.SYS_PTRACE, [6]uint64{}, []string{PermitPtrace}, allow},
		"pidfd_getfd":                  {unix.SYS_PIDFD_GETFD, [6]uint64{}, []string{PermitPtrace}, eperm},
		"socket unix":                  {unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, nil, allow},
		"socket inet":                  {unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP}, nil, allow},
		"socket inet6":                 {unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_DGRAM}, nil, allow},
		"socket route":                 {unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, nil, allow},
		"socket other netlink":         {unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, nil, eafnosupport},
		"socket vsock":                 {unix.SYS_SOCKET, [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, nil, eafnosupport},
		"socket packet":                {unix.SYS_SOCKET, [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, nil, eafnosupport},
		"socket alg":                   {unix.SYS_SOCKET, [6]uint64{unix.AF_ALG}, nil, eafnosupport},
		"socket unspec":                {unix.SYS_SOCKET, [6]uint64{unix.AF_UNSPEC}, nil, eafnosupport},
		"socket vsock, high bits":      {unix.SYS_SOCKET, [6]uint64{high | unix.AF_VSOCK}, nil, eafnosupport},
		"socket netlink, high bits":    {unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, 0, high | unix.NETLINK_XFRM}, nil, eafnosupport},
		"socket udplite":               {unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE}, nil, allow},
		"socket mptcp":                 {unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, nil, allow},
		"socket sctp":                  {unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, nil, eprotonosupport},
		"socket sctp6, high bits":      {unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, high | unix.IPPROTO_SCTP}, nil, eprotonosupport},
		"socket protocol of no module": {unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_DGRAM, 200}, nil, eprotonosupport},
		"socket raw of any protocol":   {unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW}, nil, eprotonosupport},
		"socketpair tipc":              {unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_TIPC}, nil, eafnosupport},
		"socketpair unix":              {unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX}, nil, allow},
		"ioctl TCGETS":                 {unix.SYS_IOCTL, [6]uint64{0, unix.TCGETS}, nil, allow},
		"ioctl TIOCSTI":                {unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}, nil, eperm},
		"ioctl TIOCSTI, high bits":     {unix.SYS_IOCTL, [6]uint64{0, high | unix.TIOCSTI}, nil, eperm},
		"ioctl TIOCLINUX":              {unix.SYS_IOCTL, [6]uint64{0, tiocLinux}, nil, eperm},
		"ioctl TIOCLINUX, high bits":   {unix.SYS_IOCTL, [6]uint64{0, 1<<32 | tiocLinux}, nil, eperm},
		"ioctl snapshot":               {unix.SYS_IOCTL, [6]uint64{3, btrfsSnapshot}, nil, eperm},
		"ioctl snapshot, second form":  {unix.SYS_IOCTL, [6]uint64{3, high | btrfsSnapshot2}, []string{PermitNestedSandbox}, eperm},
		"personality query":            {unix.SYS_PERSONALITY, [6]uint64{0xffffffff}, nil, allow},
		"personality default":          {unix.SYS_PERSONALITY, [6]uint64{0}, nil, allow},
		"personality no randomisation": {unix.SYS_PERSONALITY, [6]uint64{0x40000}, nil, eperm},
		"later than the filter":        {fence.Newest + 1, [6]uint64{}, nil, enosys},
		"x32":                          {0x40000000 | unix.SYS_READ, [6]uint64{}, nil, enosys},
		"no number":                    {0xffffffff, [6]uint64{}, nil, enosys},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, call{fence.Arch, c.number, c.args}, c.permits...); got != c.want {
				t.Errorf("verdict %#x, want %#x", got, c.want)
			}
		})
	}
}

func TestFilterForeignArchitecture(t *testing.T) {
	for _, arch := range []uint32{0, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64} {
		if got := run(t, call{arch, unix.SYS_READ, [6]uint64{}}); got != kill {
			t.Errorf("architecture %#x: verdict %#x, want %#x", arch, got, uint32(kill))
		}
	}
}

// Every refused call is refused, and by its own table entry.
func TestFilterRefusals(t *testing.T) {
	for _, r := range refusals {
		for _, number := range r.calls {
			if got, want := run(t, call{fence.Arch, number, [6]uint64{}}), fence.Deny(r.errno); got != want {
				t.Errorf("call %d: verdict %#x, want %#x", number, got, want)
			}
			if number > fence.Newest {
				t.Errorf("call %d is later than the fence.Newest, %d", number, fence.Newest)
			}
		}
	}
}

func TestFilterFits(t *testing.T) {
	raw, err := bpf.Assemble(filter(func(string) bool { return false }))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > unix.BPF_MAXINSNS {
		t.Errorf("%d instructions, more than %d", len(raw), unix.BPF_MAXINSNS)
	}
}
