// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// session makes init the leader of a session of its own, with a cgroup
// namespace that ends at the session's leaf and a terminal where the user has
// one. The keyring is new since shed.
func (p *pid1) session() error {
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("make session: %w", err)
	}
	unix.Umask(0o022)
	// On each thread, though only this one will start the agent.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP, 0, 0); errno != 0 {
		return fmt.Errorf("make cgroup namespace: %w", errno)
	}
	if name := p.body.Spec.Hostname; name != "" {
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("set host name %q: %w", name, err)
		}
	}
	if p.body.Terminal == nil {
		return nil
	}
	if err := p.openTerminal(*p.body.Terminal); err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	return nil
}

// openTerminal makes a terminal in the session's own devpts, puts it in the
// place of the user's and hands its master out.
func (p *pid1) openTerminal(t terminalSpec) error {
	master, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	// By ioctl and not by path: the other end of this one and of no other.
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("open peer: %w", errno)
	}
	p.slave = int(slave)
	if err := p.prepareTerminal(t); err != nil {
		return err
	}
	return send(p.control, kindTerminal, struct{}{}, master)
}

func (p *pid1) prepareTerminal(t terminalSpec) error {
	if err := errors.Join(
		unix.IoctlSetTermios(p.slave, unix.TCSETS, &t.Mode),
		unix.IoctlSetWinsize(p.slave, unix.TIOCSWINSZ, &t.Size),
		unix.Fchown(p.slave, p.body.Spec.User.UID, -1),
		unix.IoctlSetInt(p.slave, unix.TIOCSCTTY, 0),
	); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	for _, fd := range t.FDs {
		if err := unix.Dup3(p.slave, fd, 0); err != nil {
			return fmt.Errorf("put in place of %d: %w", fd, err)
		}
	}
	return nil
}
