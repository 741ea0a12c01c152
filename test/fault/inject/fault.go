// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fault is what happens, and when.
type fault struct {
	role, call string
	nth        int
	action     action
}

type action struct {
	errno syscall.Errno // 0: kill or stop
	stop  bool          // and kill after held
}

// parseFault reads ROLE:CALL:N:ACTION; "-" is a fault that never comes.
func parseFault(text string) (f fault, err error) {
	if text == "-" {
		return f, nil
	}
	parts := strings.Split(text, ":")
	if len(parts) != 4 {
		return f, fmt.Errorf("read fault %q: %d parts", text, len(parts))
	}
	f.role, f.call = parts[0], parts[1]
	if f.nth, err = strconv.Atoi(parts[2]); err != nil {
		return f, fmt.Errorf("read fault: %w", err)
	}
	switch parts[3] {
	case "KILL":
	case "STOP":
		f.action.stop = true
	case "EPERM":
		f.action.errno = unix.EPERM
	case "ENOSYS":
		f.action.errno = unix.ENOSYS
	case "ENOMEM":
		f.action.errno = unix.ENOMEM
	default:
		return f, fmt.Errorf("read fault %q: unknown action", text)
	}
	return f, nil
}
