// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// held is how long a stopped process stands still before it is killed: time for
// the others to do what they must not.
const held = 100 * time.Millisecond

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

// thread is a tracee.
type thread struct {
	process *process
	fail    syscall.Errno // of the call it is in; 0: none
}

// process is what its threads share.
type process struct {
	pid  int
	role string
	held bool
}

type tracer struct {
	fault     fault
	report    report
	threads   map[int]*thread
	processes map[int]*process
	root      int // process id of the supervisor
	proxy     int // and of the proxy
}

func newTracer(f fault) *tracer {
	return &tracer{
		fault: f, report: report{Counts: make(map[string]int)},
		threads: make(map[int]*thread), processes: make(map[int]*process),
	}
}

// run returns how the program ended, when none of its descendants is left but
// those of the agent.
func (t *tracer) run(path string, argv []string) (status syscall.WaitStatus, err error) {
	root, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	var first syscall.WaitStatus
	if _, err := syscall.Wait4(root, &first, unix.WALL, nil); err != nil {
		return 0, fmt.Errorf("wait for %s: %w", path, err)
	}
	if err := syscall.PtraceSetOptions(root, options); err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	t.root = root
	t.processes[root] = &process{pid: root, role: "supervisor"}
	t.threads[root] = &thread{process: t.processes[root]}
	t.resume(root, t.threads[root], 0)
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return status, nil
		case err != nil:
			return status, fmt.Errorf("wait: %w", err)
		case ws.Stopped():
			t.stopped(tid, ws)
		default:
			delete(t.threads, tid)
			if tid == root {
				status = ws
			}
		}
	}
}

// resume lets a thread run to its next call, or on where no call of it matters:
// most of the time goes into stops. It may have been killed meanwhile.
func (t *tracer) resume(tid int, th *thread, signal int) {
	matters := t.fault.call == "" || th.process.role == t.fault.role && !t.report.Fired
	if matters || th.fail != 0 {
		_ = syscall.PtraceSyscall(tid, signal)
		return
	}
	_ = syscall.PtraceCont(tid, signal)
}

// stopped decides what becomes of a thread that stands still.
func (t *tracer) stopped(tid int, ws syscall.WaitStatus) {
	th, known := t.threads[tid]
	if !known {
		th = t.meet(tid)
	}
	signal := 0
	switch s := ws.StopSignal(); {
	case s == unix.SIGTRAP|0x80:
		t.call(tid, th)
	case s == unix.SIGTRAP && ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
		if t.executed(tid, th) {
			return
		}
	case s == unix.SIGTRAP && ws.TrapCause() > 0:
	case s == unix.SIGSTOP && !known: // of its birth
	default:
		signal = int(s)
	}
	if !th.process.held {
		t.resume(tid, th, signal)
	}
}

// meet finds out whose thread a new one is.
func (t *tracer) meet(tid int) *thread {
	status := fields(fmt.Sprintf("/proc/%d/status", tid))
	pid, _ := strconv.Atoi(status["Tgid"])
	p := t.processes[pid]
	if p == nil {
		p = &process{pid: pid, role: "orphan"}
		parent, _ := strconv.Atoi(status["PPid"])
		if of := t.processes[parent]; of != nil {
			p.role = of.role
		}
		t.processes[pid] = p
	}
	th := &thread{process: p}
	t.threads[tid] = th
	return th
}

// executed gives a process its role, and reports whether it was let go.
func (t *tracer) executed(tid int, th *thread) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", tid))
	argv0, _, _ := strings.Cut(string(line), "\x00")
	stage, ours := strings.CutPrefix(argv0, "phantom-ns: ")
	switch {
	case ours:
		th.process.role = stage
		if stage == "proxy" {
			t.proxy = tid
		}
	case th.process.role == "init":
		t.report.Executed = true
		t.report.Posture = posture(tid, t.proxy)
		delete(t.threads, tid)
		_ = syscall.PtraceDetach(tid) // it may have been killed
		return true
	case tid != t.root:
		th.process.role = "other"
	}
	return false
}

// syscallInfo is struct ptrace_syscall_info (ptrace(2)).
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	_    uint32
	_, _ uint64
	nr   uint64 // of an entry
	args [6]uint64
	_    [2]uint64
}

const infoEntry = 1 // PTRACE_SYSCALL_INFO_ENTRY

// call looks at one half of a call: counts its entry and, at the one that the
// fault names, does what it says.
func (t *tracer) call(tid int, th *thread) {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return // killed
	}
	if info.op != infoEntry {
		if th.fail != 0 {
			setRegisters(tid, func(r *syscall.PtraceRegs) { r.Rax = -uint64(th.fail) })
			th.fail = 0
		}
		return
	}
	called := name(tid, info.nr, info.args)
	if called == "" {
		return
	}
	role := th.process.role
	t.report.Counts[role+" "+called]++
	if role == t.fault.role && called == t.fault.call && t.report.Counts[role+" "+called] == t.fault.nth {
		t.report.Fired = true
		t.strike(tid, th)
	}
}

func (t *tracer) strike(tid int, th *thread) {
	switch a := t.fault.action; {
	case a.errno != 0:
		th.fail = a.errno
		setRegisters(tid, func(r *syscall.PtraceRegs) { r.Orig_rax = ^uint64(0) }) // no call at all
	case a.stop:
		th.process.held = true
		time.AfterFunc(held, func() { _ = syscall.Kill(th.process.pid, unix.SIGKILL) })
	default:
		_ = syscall.Kill(th.process.pid, unix.SIGKILL)
	}
}

func setRegisters(tid int, change func(*syscall.PtraceRegs)) {
	var r syscall.PtraceRegs
	if syscall.PtraceGetRegs(tid, &r) == nil {
		change(&r)
		_ = syscall.PtraceSetRegs(tid, &r)
	}
}
