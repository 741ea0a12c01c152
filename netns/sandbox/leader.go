// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// LeaderStage is argv[0] of the leader of a program beside the agent.
const LeaderStage = "phantom-ns: leader"

// Where a leader finds what init gave it, above the program's streams.
const (
	reportFD = 3 // what it says about a failure; closed when there is none
	bulkFD   = 4 // programSpec
)

// programSpec is a program as its leader is told.
type programSpec struct {
	Argv, Env []string
	Terminal  int // which of 0, 1, 2 is a terminal; -1 is none
	User      User
	Outside   map[string]uint64
	Net       uint64
}

// A leader is the parent of one program beside the agent, as init is of the
// agent: it leads the session whose terminal is the program's, or Ctrl-Z would
// do nothing (the kernel does not stop a group that nobody of its own session
// could continue, setpgid(2)). Init forks it with all that the agent has and has
// not; it reads that back as init did, and what it could say falsely concerns
// the program alone.
type leader struct {
	pid1
	pid int
}

// LeaderMain is the leader: cmd's main calls it when argv[0] is LeaderStage. It
// never returns. Its exit status is the program's, as a shell would say it.
//
// Preconditions: the process was started by init; nothing else runs in it.
func LeaderMain() {
	// The program dies with the thread that forked it.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	l := &leader{pid1: pid1{control: -1, slave: -1, stage: StageStart}}
	if err := l.start(); err != nil {
		// Without a reader there is nobody to tell.
		if text, err := json.Marshal(stageError(l.stage, err)); err == nil {
			unix.Write(reportFD, text)
		}
		os.Exit(1)
	}
	unix.Close(reportFD)
	os.Exit(l.lead(signals))
}

// start executes the program.
func (l *leader) start() error {
	if err := markDescriptors(); err != nil {
		return fmt.Errorf("mark descriptors: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	var spec programSpec
	if _, err := readBulk(bulkFD, &spec, 0); err != nil {
		return err
	}
	unix.Close(bulkFD)
	l.body = specBody{Spec: Spec{User: spec.User}, Outside: spec.Outside, Net: spec.Net}
	l.launch = Launch{Argv: spec.Argv, Env: spec.Env}
	l.slave = spec.Terminal
	l.stage = StagePosture
	if err := l.checkThreads(); err != nil {
		return err
	}
	if err := l.checkDescriptors(); err != nil {
		return err
	}
	l.stage = StageExec
	name, err := l.find()
	if err != nil {
		return err
	}
	if l.pid, err = l.fork(name, unix.SIGKILL); err != nil {
		return fmt.Errorf("execute %q: %w", name, err)
	}
	return nil
}

// lead waits for the program. A signal that it is sent is the program's.
func (l *leader) lead(signals <-chan os.Signal) int {
	go func() {
		for s := range signals {
			unix.Kill(-l.pid, s.(syscall.Signal)) // it may have ended
		}
	}()
	if err := l.release(); err != nil {
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(l.pid, &status, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 1
		case pid == l.pid && status.Stopped():
			l.stop()
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// stop stops the leader as the program was, which tells init, and goes on with
// the program.
func (l *leader) stop() {
	// Sent to this thread, it is acted upon before the call returns.
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
	unix.Kill(-l.pid, unix.SIGCONT)
}
