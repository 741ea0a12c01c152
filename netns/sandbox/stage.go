// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"syscall"
)

// Stage is a step of init on its way to the agent.
type Stage uint8

// The stages, in the order in which they run.
const (
	StageStart      Stage = iota // clone and exec of init itself
	StageListen                  // sockets born inside, handed out
	StageMount                   // the agent's view of the host's files
	StageWait                    // until the supervisor says launch
	StageCover                   // what the launch puts over the host's files
	StageTrust                   // the session's CA in every store
	StageSession                 // session, keyring, terminal
	StagePrivileges              // ids, capabilities, limits
	StageLandlock                // what the kernel knows of files and processes beside mounts
	StageSeccomp                 // the filter of system calls
	StagePosture                 // all of it read back
	StageExec                    // the agent itself
)

var stageNames = [...]string{
	"start", "listen", "mount", "wait", "cover", "trust", "session", "privileges", "landlock", "seccomp", "posture", "exec",
}

// String is the stage's name in errors and logs.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return fmt.Sprintf("stage(%d)", uint8(s))
}

// The agent's command was not found, or was found and cannot be executed. A
// *StageError of StageExec matches them with errors.Is.
var (
	ErrNotFound      = errors.New("command not found")
	ErrNotExecutable = errors.New("command not executable")
)

// StageError is a failure of init: the agent did not run.
type StageError struct {
	Stage Stage
	Errno syscall.Errno // 0 when no system call refused
	Text  string        // the chain of causes
}

// Error is one line; Text already ends in the errno's own.
func (e *StageError) Error() string { return fmt.Sprintf("%s: %s", e.Stage, e.Text) }

// Unwrap gives the errno, so that errors.Is finds it.
func (e *StageError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Is matches ErrNotFound and ErrNotExecutable.
func (e *StageError) Is(target error) bool {
	if e.Stage != StageExec {
		return false
	}
	switch e.Errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG:
		return target == ErrNotFound
	case syscall.EACCES, syscall.EPERM, syscall.ENOEXEC, syscall.ETXTBSY, syscall.EISDIR:
		return target == ErrNotExecutable
	}
	return false
}

// stageError puts err, which happened in stage, into its form on the wire.
func stageError(stage Stage, err error) *StageError {
	var whole *StageError
	if errors.As(err, &whole) {
		return whole
	}
	e := &StageError{Stage: stage, Text: cut(err.Error())}
	errors.As(err, &e.Errno)
	return e
}

// body is the failure on the wire, of a program or, where that is 0, of init.
func (e *StageError) body(program int) failedBody {
	return failedBody{programBody: programBody{program}, Stage: e.Stage, Errno: int(e.Errno), Text: e.Text}
}

// error is the failure as it was before it was sent.
func (f failedBody) error() *StageError {
	return &StageError{Stage: f.Stage, Errno: syscall.Errno(f.Errno), Text: cut(f.Text)}
}

func cut(text string) string {
	if len(text) > textLimit {
		return text[:textLimit]
	}
	return text
}
