// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The list is part of the interface: the manual has it, and an audit log may be read years later.
func TestReasonsAreClosed(t *testing.T) {
	want := "pass redirect origin session protocol device listener undeclared udp storage interface packet inflight orphan " +
		"unsolicited spoofed frame flows membership unix family"
	var names []string
	for _, reason := range Reasons() {
		names = append(names, reason.String())
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("reasons\n%s, want\n%s", got, want)
	}
	for _, name := range names {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
			t.Errorf("%q is not snake_case", name)
		}
	}
}

// Only three reasons let go on; everything else, and everything unknown, refuses.
func TestEveryOtherReasonRefuses(t *testing.T) {
	for _, reason := range Reasons() {
		goesOn := reason == ReasonPass || reason == ReasonRedirect || reason == ReasonOrigin
		if (reason.Errno() == 0) != goesOn {
			t.Errorf("%v: errno %v", reason, reason.Errno())
		}
	}
	unknown := Reason(len(Reasons()))
	if unknown.Errno() != syscall.EPERM || unknown.String() != "reason_21" {
		t.Errorf("unknown reason: %v, %v", unknown, unknown.Errno())
	}
}

func TestErrnos(t *testing.T) {
	for reason, want := range map[Reason]syscall.Errno{
		ReasonSession: syscall.EACCES, ReasonProtocol: syscall.EPROTONOSUPPORT, ReasonDevice: syscall.ENETUNREACH,
		ReasonListener: syscall.ECONNREFUSED, ReasonUndeclared: syscall.ECONNREFUSED, ReasonUDP: syscall.ECONNREFUSED,
		ReasonStorage: syscall.ENOMEM, ReasonInterface: syscall.ENETUNREACH, ReasonPacket: syscall.EPERM,
		ReasonUnix: syscall.EACCES, ReasonFamily: syscall.EAFNOSUPPORT,
	} {
		if got := reason.Errno(); got != want {
			t.Errorf("%v: %v, want %v", reason, got, want)
		}
	}
}
