// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// pid1 is init itself: the first process of the session.
type pid1 struct {
	control int
	stage   Stage
	body    specBody
	view    *view // until the covers are in place
	launch  Launch
	sockets []string       // pathname sockets of the host
	own     mounts         // made here, and writable
	rules   *fence.Ruleset // nil where the kernel has none
	home    uint64         // id of the mount that discards what is written to it; 0 is none
	slave   int            // of the terminal; -1 is none
}

// step is a stage and what is done in it.
type step struct {
	stage Stage
	do    func(*pid1) error
}

// steps leads to the agent. What needs no launch comes before the wait for it,
// beside what the supervisor does. Exec, the last, returns when the agent runs.
func steps() []step {
	return []step{
		{StageListen, (*pid1).listen},
		{StageMount, (*pid1).mount},
		{StageWait, (*pid1).wait},
		{StageCover, (*pid1).putCovers},
		{StageTrust, (*pid1).trust},
		{StageSession, (*pid1).session},
		{StagePrivileges, (*pid1).privileges},
		{StageLandlock, (*pid1).landlock},
		{StageSeccomp, (*pid1).seccomp},
		{StagePosture, (*pid1).posture},
		{StageExec, (*pid1).exec},
	}
}

// Main is init: cmd's main calls it, before anything else, when argv[0] is
// "phantom-ns: init". It never returns.
//
// Preconditions: the process was started by Start; nothing else runs in it.
func Main() {
	os.Exit(runInit(steps()))
}

// runInit runs the steps and then waits for the agent. Its result is init's
// exit status, which nobody reads unless init could not say what went wrong.
func runInit(steps []step) int {
	// The agent is forked from this thread, and takes its keyring.
	runtime.LockOSThread()
	// Init lives for some milliseconds before its heap is idle.
	debug.SetGCPercent(-1)
	p := &pid1{control: controlFD, stage: StageStart, slave: -1}
	if err := p.run(steps); err != nil {
		if send(p.control, kindFailed, stageError(p.stage, err).body(0)) != nil {
			return 1
		}
	}
	return 0
}

func (p *pid1) run(steps []step) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	if err := p.readSpec(); err != nil {
		return err
	}
	for _, s := range steps {
		p.stage = s.stage
		if err := s.do(p); err != nil {
			return err
		}
	}
	return nil
}

// readSpec reads the first message.
func (p *pid1) readSpec() error {
	unix.CloseOnExec(p.control) // donated without; 5.10 cannot mark a whole range
	message, err := receive(p.control)
	if err != nil {
		return fmt.Errorf("receive spec: %w", err)
	}
	defer message.close()
	if message.kind != kindSpec || len(message.fds) != 1 {
		return fmt.Errorf("receive spec: message %d: %w", message.kind, unix.EBADMSG)
	}
	_, err = readBulk(message.fds[0], &p.body, 0)
	return err
}

// wait blocks until the supervisor says launch.
func (p *pid1) wait() error {
	for {
		message, err := receive(p.control)
		if err != nil {
			return fmt.Errorf("receive launch: %w", err)
		}
		if message.kind == kindSignal {
			continue // nobody is there to take it yet
		}
		defer message.close()
		if message.kind != kindLaunch || len(message.fds) != 1 {
			return fmt.Errorf("receive launch: message %d: %w", message.kind, unix.EBADMSG)
		}
		var body launchBody
		parts, err := readBulk(message.fds[0], &body, 5)
		if err != nil {
			return err
		}
		p.sockets = body.Sockets
		p.launch = Launch{
			Argv: body.Argv, Path: body.Path, Env: body.Env, Covers: body.Covers, Given: body.Given,
			CA: parts[0], SystemRoots: parts[1], Hosts: parts[2], ResolvConf: parts[3], Nsswitch: parts[4],
		}
		return nil
	}
}

// warn tells the supervisor what the agent does without.
func (p *pid1) warn(format string, arguments ...any) error {
	return send(p.control, kindWarning, warningBody{Text: cut(fmt.Sprintf(format, arguments...))})
}
