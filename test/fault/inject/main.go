// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

// Command inject runs phantom-ns under ptrace(2) and does one thing to one of
// its processes at one system call: it lets the call fail, or kills or stops the
// process.
//
//	inject REPORT [ROLE:CALL:N:ACTION] PROGRAM ARGUMENT...
//
// ROLE is supervisor, or what follows "phantom-ns: " in argv[0]; a child that has
// not executed anything yet has its parent's. CALL is a name of calls.go. N
// counts the calls of all threads of that role together, from 1 on: strace(1)
// counts for each thread alone, so that "the third" would be one in every thread
// of every process. ACTION is an errno, KILL or STOP; "-" for the whole is no
// fault. The exit status is the program's, and REPORT is what was seen (see
// report).
//
// It traces by no seccomp filter of its own, which would hide the failure of
// ours, and lets the agent go when it has executed.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// report is what inject saw, in JSON.
type report struct {
	Counts   map[string]int `json:"counts"` // of "ROLE CALL"
	Fired    bool           `json:"fired"`
	Executed bool           `json:"executed"`          // the agent was
	Posture  []string       `json:"posture,omitempty"` // of the agent and all that holds it, as it executed
}

func main() {
	runtime.LockOSThread() // ptrace belongs to a thread
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: inject REPORT [ROLE:CALL:N:ACTION|-] PROGRAM ARGUMENT..."))
	}
	f, err := parseFault(os.Args[2])
	fail(err)
	t := newTracer(f)
	status, err := t.run(os.Args[3], os.Args[3:])
	fail(err)
	data, err := json.Marshal(t.report)
	fail(err)
	fail(os.WriteFile(os.Args[1], data, 0o600))
	if status.Signaled() {
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(status.ExitStatus())
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(99)
	}
}
