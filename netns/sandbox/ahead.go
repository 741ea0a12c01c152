// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ahead is a leader as init sees it.
type ahead struct {
	program int
	said    chan syscall.WaitStatus
}

// statusLimit is how many stops of a leader may wait to be told. More are of a
// program that does nothing else, and are dropped; its end is not.
const statusLimit = 16

// tell hands on how the leader stopped or ended. It never waits.
func (l *ahead) tell(status syscall.WaitStatus) {
	if status.Stopped() && len(l.said) >= statusLimit {
		return
	}
	l.said <- status
}

// program starts one beside the agent: a leader that executes it.
func (p *pid1) program(c *children, b startBody, fds []int) {
	err := fmt.Errorf("receive program: %d descriptors: %w", len(fds), unix.EBADMSG)
	if len(fds) == 4 {
		err = p.startLeader(c, b, fds)
	}
	if err != nil {
		// The supervisor is gone where this is lost.
		_ = send(p.control, kindFailed, stageError(StageStart, err).body(b.Program))
	}
}

func (p *pid1) startLeader(c *children, b startBody, fds []int) error {
	var report [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer unix.Close(report[1])
	l := &ahead{program: b.Program, said: make(chan syscall.WaitStatus, statusLimit+1)}
	c.mu.Lock() // reap sees it when it is known
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{LeaderStage}, &syscall.ProcAttr{
		Env:   []string{},
		Files: []uintptr{uintptr(fds[1]), uintptr(fds[2]), uintptr(fds[3]), reportFD: uintptr(report[1]), bulkFD: uintptr(fds[0])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: b.Terminal >= 0, Ctty: max(b.Terminal, 0)},
	})
	if err != nil {
		unix.Close(report[0])
		return fmt.Errorf("start leader: %w", err)
	}
	c.leaders[pid] = l
	go p.follow(l, os.NewFile(uintptr(report[0]), "report"))
	return nil
}

// follow tells the supervisor what becomes of a program.
func (p *pid1) follow(l *ahead, report *os.File) {
	defer report.Close()
	// A leader that the agent killed says nothing; how it ended tells.
	text, _ := io.ReadAll(io.LimitReader(report, messageLimit/2))
	var failed StageError
	if len(text) > 0 {
		if err := json.Unmarshal(text, &failed); err != nil {
			failed = *stageError(StageExec, err)
		}
		for status := range l.said {
			if !status.Stopped() {
				break
			}
		}
		_ = send(p.control, kindFailed, failed.body(l.program))
		return
	}
	_ = send(p.control, kindExecuted, programBody{l.program})
	for status := range l.said {
		if p.report(l.program, status) {
			return
		}
	}
}
