// SPDX-License-Identifier: Apache-2.0

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nativeWays use the machine's other set of system calls, whose numbers mean
// other things to a filter (R6, P).
var nativeWays = map[string]way{
	"i386_vsock":    socketcall(unix.AF_VSOCK, unix.SOCK_STREAM),
	"i386_inet":     socketcall(unix.AF_INET, unix.SOCK_STREAM),
	"i386_netlink":  socketcall(unix.AF_NETLINK, unix.SOCK_RAW),
	"i386_getpid":   interrupted(20),
	"x32_socket":    refused(0x40000000|unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"x32_getpid":    refused(0x40000000 | unix.SYS_GETPID),
	"future_call":   refused(1023),
	"negative_call": refused(^uintptr(0)),
}

// interrupt makes a system call of i386 (int $0x80). The kernel clears r8 to
// r11 and takes its arguments from the low halves of the registers.
func interrupt(number, a, b, c uint32) int32

// socketcall opens a socket as i386 programs did: the family is in memory, out
// of a filter's sight.
func socketcall(family, kind uint32) way {
	return func() string {
		const opSocket = 1 // SYS_SOCKET of linux/net.h
		// i386 reaches the low 4 GiB alone.
		memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_32BIT)
		if err != nil {
			return word(err)
		}
		arguments := (*[3]uint32)(unsafe.Pointer(&memory[0]))
		arguments[0], arguments[1] = family, kind
		const numberSocketcall = 102
		return outcome(interrupt(numberSocketcall, opSocket, uint32(uintptr(unsafe.Pointer(arguments))), 0))
	}
}

func interrupted(number uint32) way {
	return func() string { return outcome(interrupt(number, 0, 0, 0)) }
}

func outcome(returned int32) string {
	var s steps
	if returned < 0 {
		s.did("call", unix.Errno(-returned))
	} else {
		s.did("call", nil)
	}
	return s.String()
}

func iopl() string { return refused(unix.SYS_IOPL, 3)() }
