// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uringWays have the kernel make the calls (R4, R6), so that no filter of system
// calls sees them. A session permits rings only where its policy says so; the
// hooks judge then.
var uringWays = map[string]way{
	"uring_enter":    refused(unix.SYS_IO_URING_ENTER, 0, 0, 0, 0),
	"uring_register": refused(unix.SYS_IO_URING_REGISTER, 0, 0, 0, 0),
	"uring_connect":  uringConnect,
	"uring_sendmsg":  uringSendmsg,
	"uring_inet":     uringSocket(unix.AF_INET, unix.SOCK_STREAM, 0),
	"uring_udplite":  uringSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
	"uring_vsock":    uringSocket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"uring_packet":   uringSocket(unix.AF_PACKET, unix.SOCK_RAW, 0),
	"uring_netlink":  uringSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
}

// Operations and fields of linux/io_uring.h.
const (
	opSendmsg = 9
	opConnect = 16
	opSocket  = 45 // Linux 5.19

	offsetEntries = 0x10000000 // IORING_OFF_SQES
	getEvents     = 1          // IORING_ENTER_GETEVENTS
)

// submission is struct io_uring_sqe.
type submission struct {
	op, flags uint8
	priority  uint16
	fd        int32
	offset    uint64
	address   uint64
	length    uint32
	_         [36]byte
}

// parameters is struct io_uring_params. The rings' offsets follow the first
// ten words: head, tail, mask, entries, flags, dropped, array; and for
// completions head, tail, mask, entries, overflow, entries' place.
type parameters struct {
	_           [10]uint32
	submissions [10]uint32
	completions [10]uint32
}

// submit makes a ring, does one operation and returns its result.
func submit(s *steps, what string, job submission) {
	var p parameters
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		s.did("setup", errno)
		return
	}
	rings, err := unix.Mmap(int(fd), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		s.did("mmap", err)
		return
	}
	entries, err := unix.Mmap(int(fd), offsetEntries, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		s.did("mmap", err)
		return
	}
	*(*submission)(unsafe.Pointer(&entries[0])) = job
	binary.NativeEndian.PutUint32(rings[p.submissions[6]:], 0)
	binary.NativeEndian.PutUint32(rings[p.submissions[1]:], 1)
	if err := call(unix.SYS_IO_URING_ENTER, fd, 1, 1, getEvents); err != nil {
		s.did("enter", err)
		return
	}
	result := int32(binary.NativeEndian.Uint32(rings[p.completions[5]+8:]))
	if result < 0 {
		s.did(what, unix.Errno(-result))
		return
	}
	s.did(what, nil)
}

func uringSocket(family, kind, protocol int) way {
	return func() string {
		var s steps
		submit(&s, "socket", submission{op: opSocket, fd: int32(family), offset: uint64(kind), length: uint32(protocol)})
		return s.String()
	}
}

func uringConnect() string {
	name := raw4(at(away4, 443))
	var s steps
	submit(&s, "connect", submission{
		op: opConnect, fd: int32(socket(unix.AF_INET, unix.SOCK_STREAM)),
		address: uint64(uintptr(unsafe.Pointer(&name))), offset: unix.SizeofSockaddrInet4,
	})
	runtime.KeepAlive(&name)
	return s.String()
}

func uringSendmsg() string {
	name := raw4(at(away4, 4433))
	vector := unix.Iovec{Base: &payload[0]}
	vector.SetLen(len(payload))
	message := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&name)), Namelen: unix.SizeofSockaddrInet4, Iov: &vector}
	message.SetIovlen(1)
	var s steps
	submit(&s, "sendmsg", submission{
		op: opSendmsg, fd: int32(socket(unix.AF_INET, unix.SOCK_DGRAM)),
		address: uint64(uintptr(unsafe.Pointer(&message))), length: 1,
	})
	runtime.KeepAlive(&message)
	return s.String()
}
