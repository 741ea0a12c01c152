// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitStage is argv[0] of init, by which cmd's main knows to call Main.
const InitStage = "phantom-ns: init"

// clones are init's new namespaces. The network's is entered, and the cgroup's
// made by init itself: clone3 would root it in the parent's cgroup.
const clones = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// process is init as its parent sees it.
type process struct {
	pid  int
	done chan struct{} // closed when it and its namespace are gone

	mu    sync.Mutex
	pidfd int // -1 when it was closed

	wait syscall.WaitStatus // valid after done
	err  error              // of waiting; valid after done
}

// startProcess starts init with the given descriptors.
func startProcess(cfg Config, fds [4]int) (*process, error) {
	p := &process{pidfd: -1, done: make(chan struct{})}
	started := make(chan error)
	go p.live(cfg, fds, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// live starts init and waits for it, on one thread: the kernel sends init's
// PDEATHSIG when the thread that cloned it dies, not the process. The thread
// has given up things meanwhile, so it is never unlocked and ends with the
// goroutine.
func (p *process) live(cfg Config, fds [4]int, started chan<- error) {
	runtime.LockOSThread()
	err := shed()
	if err == nil {
		err = cfg.Namespace.Do(func() error { return p.fork(cfg, fds) })
	}
	if err != nil && p.pid > 0 {
		unix.Kill(p.pid, unix.SIGKILL) // ours, and not yet waited for
		p.reap()
		unix.Close(p.pidfd)
	}
	started <- err
	if err == nil {
		p.reap()
		close(p.done)
	}
}

func (p *process) fork(cfg Config, fds [4]int) error {
	return withFD(cfg.Cgroup, func(cgroup int) (err error) {
		executable := cfg.Executable
		if executable == "" {
			executable = "/proc/self/exe"
		}
		attr := &syscall.ProcAttr{Dir: "/", Env: []string{}, Sys: &syscall.SysProcAttr{
			Cloneflags:  clones,
			UseCgroupFD: true,
			CgroupFD:    cgroup,
			Pdeathsig:   syscall.SIGKILL,
			PidFD:       &p.pidfd,
		}}
		for _, fd := range fds {
			attr.Files = append(attr.Files, uintptr(fd))
		}
		if p.pid, err = syscall.ForkExec(executable, []string{InitStage}, attr); err != nil {
			return fmt.Errorf("start %s: %w", executable, err)
		}
		return nil
	})
}

func (p *process) reap() {
	for {
		_, p.err = syscall.Wait4(p.pid, &p.wait, 0, nil)
		if !errors.Is(p.err, syscall.EINTR) {
			return
		}
	}
}

// kill ends init and with it, by the kernel, everything in its namespace.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// close kills init, waits for it and gives up the handle.
func (p *process) close() error {
	err := p.kill()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return err
	}
	err = errors.Join(err, unix.Close(p.pidfd))
	p.pidfd = -1
	return err
}

// shed makes the calling thread give up, for the process that it will start,
// what no thread of that process may have: the bounding set, which would
// otherwise cost init a stop of all its threads for each capability; the
// chance to gain privileges; and the keys of the session it came from. Init,
// being root, has the capabilities of the inheritable set for a while.
func shed() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// Of no name: a named one could be somebody's.
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("join session keyring: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range sets {
		sets[i].Inheritable = sets[i].Permitted
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > unix.CAP_AUDIT_READ {
			return nil // past the last one that this kernel has
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
}
