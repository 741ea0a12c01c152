// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// defaultPath is where a command is searched when its environment has no PATH
// (execvp(3), _PATH_STDPATH without the folders of root).
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// children are init's own: the agent, and the leaders of programs beside it.
type children struct {
	mu      sync.Mutex
	agent   int            // 0 when it has been waited for
	leaders map[int]*ahead // by process id
}

// exec starts the agent, and then is what PID 1 has to be. It returns only an
// error, when the agent could not be started.
func (p *pid1) exec() error {
	name, err := p.find()
	if err != nil {
		return err
	}
	c := &children{leaders: make(map[int]*ahead)}
	// Signals that the agent sends to init: a handler that does nothing, as the
	// kernel already drops those that have none. The agent itself does not
	// inherit it, as it would an ignored signal.
	signal.Notify(make(chan os.Signal))
	if c.agent, err = p.fork(name, 0); err != nil {
		return fmt.Errorf("execute %q: %w", name, err)
	}
	if err := send(p.control, kindRunning, struct{}{}); err != nil {
		os.Exit(1)
	}
	if err := p.release(); err != nil {
		os.Exit(1)
	}
	go p.reap(c)
	p.obey(c)
	return nil
}

// release gives up what only the stages and the agent need: whoever is at the
// other end of the agent's pipes shall notice when the agent closes them.
func (p *pid1) release() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	for fd := range controlFD {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return err
		}
	}
	p.launch, p.sockets = Launch{}, nil
	debug.SetGCPercent(100)
	debug.FreeOSMemory()
	return nil
}

// fork executes the program as the leader of a process group, which is the
// terminal's foreground group where there is a terminal. It is sent death, where
// that is not 0, when this thread ends.
func (p *pid1) fork(name string, death syscall.Signal) (int, error) {
	pid, err := syscall.ForkExec(name, p.launch.Argv, &syscall.ProcAttr{
		Env:   p.launch.Env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: p.slave >= 0, Ctty: max(p.slave, 0), Pdeathsig: death},
	})
	if errors.Is(err, unix.ENOENT) && unix.Access(name, unix.F_OK) == nil {
		return 0, fmt.Errorf("interpreter is missing: %w", unix.ENOEXEC)
	}
	return pid, err
}

// find is the path of the agent's program, as the user would find it: the first
// executable file of that name in PATH, else the errno of the best reason why
// there is none.
func (p *pid1) find() (string, error) {
	if len(p.launch.Argv) == 0 {
		return "", fmt.Errorf("no command: %w", unix.ENOENT)
	}
	name := p.launch.Argv[0]
	if p.launch.Path != "" {
		return p.launch.Path, executable(p.launch.Path)
	}
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	reason := error(unix.ENOENT)
	for _, dir := range strings.Split(p.path(), ":") {
		if !path.IsAbs(dir) {
			continue // the working directory is the agent's to write
		}
		candidate := path.Join(dir, name)
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, unix.EACCES) {
			reason = unix.EACCES
		}
	}
	return "", fmt.Errorf("find %q: %w", name, reason)
}

// path is PATH of the agent's environment, the last one as a shell would.
func (p *pid1) path() string {
	for _, variable := range slices.Backward(p.launch.Env) {
		if value, found := strings.CutPrefix(variable, "PATH="); found {
			return value
		}
	}
	return defaultPath
}

// executable is nil when name is a file that this process may execute.
func executable(name string) error {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return fmt.Errorf("find %q: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("execute %q, which is no file: %w", name, unix.EACCES)
	}
	if err := unix.Access(name, unix.X_OK); err != nil {
		return fmt.Errorf("execute %q: %w", name, err)
	}
	return nil
}

// obey does what the supervisor says, and ends everything when it is gone. It is
// the thread that forked the agent, and forks the others: Landlock's rules and
// the keyring are a thread's own.
func (p *pid1) obey(c *children) {
	for {
		message, err := receive(p.control)
		if err != nil {
			os.Exit(1) // the kernel kills the rest
		}
		var s signalBody
		var b startBody
		switch {
		case message.kind == kindSignal && message.decode(&s) == nil:
			c.signal(s.Program, syscall.Signal(s.Signal))
		case message.kind == kindProgram && message.decode(&b) == nil:
			p.program(c, b, message.fds)
		}
		message.close()
	}
}

// signal sends s to the agent's process group, or to a leader. The pid cannot be
// another's: it is waited for under the same lock.
func (c *children) signal(program int, s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if program == 0 {
		if c.agent > 0 {
			unix.Kill(-c.agent, s)
		}
		return
	}
	for pid, l := range c.leaders {
		if l.program == program {
			unix.Kill(pid, s)
		}
	}
}

// reap waits for every child, as PID 1 must, until the agent has ended, and
// reports that. Init's exit then ends whatever the agent left behind.
func (p *pid1) reap(c *children) {
	for {
		// Without waiting for it, so that its pid stays taken.
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			os.Exit(1)
		}
		c.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, unix.WUNTRACED|unix.WNOHANG, nil)
		if err == nil && pid == c.agent && p.report(0, status) {
			os.Exit(0)
		}
		if l := c.leaders[pid]; err == nil && l != nil {
			l.tell(status)
			if !status.Stopped() {
				delete(c.leaders, pid)
			}
		}
		c.mu.Unlock()
	}
}

// report tells the supervisor how the agent or a program stopped or ended, and
// whether it ended.
func (p *pid1) report(program int, status syscall.WaitStatus) bool {
	of := programBody{program}
	switch {
	case status.Stopped():
		send(p.control, kindStopped, signalBody{of, int(status.StopSignal())})
		return false
	case status.Signaled():
		send(p.control, kindExited, exitedBody{programBody: of, Signal: int(status.Signal())})
	default:
		send(p.control, kindExited, exitedBody{programBody: of, Code: status.ExitStatus()})
	}
	return true
}
