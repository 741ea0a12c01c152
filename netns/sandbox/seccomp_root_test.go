// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// testCalls are made by an agent, with arguments that the kernel itself would
// answer otherwise.
var testCalls = []struct {
	name    string
	number  uintptr
	a, b, c uintptr
	want    syscall.Errno
}{
	{"unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, unix.EPERM},
	{"unshare net", unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0, unix.EPERM},
	{"setns", unix.SYS_SETNS, 0, 0, 0, unix.EPERM},
	{"clone user", unix.SYS_CLONE, unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD), 0, 0, unix.EPERM},
	{"clone3", unix.SYS_CLONE3, 0, 0, 0, unix.ENOSYS},
	{"mount", unix.SYS_MOUNT, 0, 0, 0, unix.EPERM},
	{"open_tree", unix.SYS_OPEN_TREE, 0, 0, 0, unix.EPERM},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, 1, 0, 0, unix.ENOSYS},
	{"keyctl", unix.SYS_KEYCTL, 0, 0, 0, unix.EPERM},
	{"add_key", unix.SYS_ADD_KEY, 0, 0, 0, unix.EPERM},
	{"request_key", unix.SYS_REQUEST_KEY, 0, 0, 0, unix.EPERM},
	{"bpf", unix.SYS_BPF, 0, 0, 0, unix.EPERM},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, unix.EPERM},
	{"userfaultfd", unix.SYS_USERFAULTFD, 0, 0, 0, unix.EPERM},
	{"ptrace", unix.SYS_PTRACE, 0, 0, 0, unix.EPERM},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0, unix.EPERM},
	{"vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0, unix.EAFNOSUPPORT},
	{"packet", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0, unix.EAFNOSUPPORT},
	{"alg", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0, unix.EAFNOSUPPORT},
	{"netlink generic", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC, unix.EAFNOSUPPORT},
	{"netlink route", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, 0},
	{"inet raw", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, unix.EPERM},
	{"inet", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0, 0},
	{"tiocsti", unix.SYS_IOCTL, 0, unix.TIOCSTI, 0, unix.EPERM},
	{"tiocsti, high bits", unix.SYS_IOCTL, 0, 1<<32 | unix.TIOCSTI, 0, unix.EPERM},
	{"personality", unix.SYS_PERSONALITY, 0x40000, 0, 0, unix.EPERM},
	{"later call", fence.Newest + 1, 0, 0, 0, unix.ENOSYS},
}

func TestCallsRefused(t *testing.T) {
	var want strings.Builder
	for _, c := range testCalls {
		fmt.Fprintln(&want, c.name, int(c.want))
	}
	if got := newRig(t).agent("calls"); got != want.String() {
		t.Errorf("errors are\n%s\nwant\n%s", got, want.String())
	}
}

// With the knob a nested sandbox works: a user namespace with mounts and a
// /proc of its own.
func TestPermitNestedSandbox(t *testing.T) {
	r := newRig(t)
	r.config.Spec.Permit = []string{PermitNestedSandbox}
	text, status := r.run("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
		"mount -t tmpfs none /mnt && echo mounted; umount /etc/hosts || echo covered; ip link 2>/dev/null | grep -c mtu")
	if !strings.HasPrefix(text, "mounted\n") || !strings.Contains(text, "covered\n") {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
}
