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
func (p *pid1) openTerminal(t Terminal) error {
	master, slave, err := openPTY(unix.AT_FDCWD, "/dev/pts/ptmx", t, p.body.Spec.User.UID)
	if err != nil {
		return err
	}
	defer unix.Close(master)
	p.slave = slave
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("make it init's: %w", err)
	}
	for _, fd := range t.FDs {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return fmt.Errorf("put in place of %d: %w", fd, err)
		}
	}
	return send(p.control, kindTerminal, struct{}{}, master)
}

// openPTY makes a terminal of the multiplexer name below dir, set as t says,
// for uid.
func openPTY(dir int, name string, t Terminal, uid int) (master, slave int, err error) {
	master, err = unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, -1, err
	}
	if slave, err = openPeer(master); err == nil {
		if err = prepareTerminal(slave, t, uid); err == nil {
			return master, slave, nil
		}
		unix.Close(slave)
	}
	unix.Close(master)
	return -1, -1, err
}

// openPeer opens the other end of a terminal, by ioctl and not by path: of this
// one and of no other.
func openPeer(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("unlock: %w", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, fmt.Errorf("open peer: %w", errno)
	}
	return int(slave), nil
}

func prepareTerminal(slave int, t Terminal, uid int) error {
	if err := errors.Join(
		unix.IoctlSetTermios(slave, unix.TCSETS, &t.Mode),
		unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &t.Size),
		unix.Fchown(slave, uid, -1),
	); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}
