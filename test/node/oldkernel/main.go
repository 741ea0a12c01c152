// SPDX-License-Identifier: Apache-2.0

// Command oldkernel becomes the program of its arguments, for which, and for
// whatever it starts, the kernel is one before 6.6: it has no tcx.
//
//	oldkernel ── fork ──▶ judge
//	    │  filter: BPF_LINK_CREATE is asked about
//	    ├── its descriptor ─▶ reads the arguments of each, and refuses tcx
//	    ▼
//	 program
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// judge is the first argument of the process that answers for the kernel, and
// where it finds the socket by which it is given the filter's descriptor.
const (
	judge       = "oldkernel: judge"
	judgeSocket = 3
)

func main() {
	do := become
	if os.Args[0] == judge {
		do = answer
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "oldkernel:", err)
		os.Exit(1)
	}
}

// become does everything on one thread: the filter is that thread's, and the
// judge dies with it.
func become() error {
	runtime.LockOSThread()
	program, err := exec.LookPath(os.Args[1])
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "judge")
	child := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{judge}, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start judge: %w", err)
	}
	theirs.Close()
	listener, err := filter()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("hand filter over: %w", err)
	}
	unix.Close(listener)
	return unix.Exec(program, os.Args[1:], os.Environ())
}

// Offsets in struct seccomp_data, and what a filter does.
const (
	dataNumber = 0
	dataFirst  = 16 // the first argument
)

// filter lets the judge be asked about each BPF_LINK_CREATE of this thread.
func filter() (listener int, err error) {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	verdict := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	code := []unix.SockFilter{
		load(dataNumber), unless(unix.SYS_BPF, 3),
		load(dataFirst), unless(unix.BPF_LINK_CREATE, 1), verdict(unix.SECCOMP_RET_USER_NOTIF),
		verdict(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

// question is struct seccomp_notif, and reply struct seccomp_notif_resp.
type question struct {
	ID          uint64
	PID, Flags  uint32
	Number      int32
	Arch        uint32
	Instruction uint64
	Arguments   [6]uint64
}

type reply struct {
	ID    uint64
	Value int64
	Errno int32
	Flags uint32
}

// answer is the judge, until it is killed.
func answer() error {
	// What the program was given is its own.
	if err := unix.CloseRange(judgeSocket+1, math.MaxUint32, 0); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	data, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(judgeSocket, data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("receive filter: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("receive filter: %d messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return fmt.Errorf("receive filter: %w", err)
	}
	for {
		var q question
		if err := notify(fds[0], unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&q)); errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue // who asked was killed
		} else if err != nil {
			return fmt.Errorf("receive question: %w", err)
		}
		r := reply{ID: q.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if at := attachType(q); at == unix.BPF_TCX_INGRESS || at == unix.BPF_TCX_EGRESS {
			r.Flags, r.Errno = 0, -int32(unix.EINVAL) // as before 6.6: no link of this type
		}
		if err := notify(fds[0], unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("send reply: %w", err)
		}
	}
}

// attachType reads the third field of link_create in union bpf_attr.
func attachType(q question) uint32 {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", q.PID))
	if err != nil {
		return 0
	}
	defer mem.Close()
	var field [4]byte
	if _, err := mem.ReadAt(field[:], int64(q.Arguments[1])+8); err != nil {
		return 0
	}
	return binary.NativeEndian.Uint32(field[:])
}

func notify(fd int, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
