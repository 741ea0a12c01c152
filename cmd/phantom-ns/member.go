// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

var (
	errNoDaemon = errors.New("no daemon to ask")
	errNoAccess = errors.New("the daemon does not take it")
)

// runAsMember has the node's daemon start the session. What stands on this side
// is the terminal.
func (e *env) runAsMember(f runFlags, command []string) error {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: members.Socket, Net: "unixpacket"})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", errNotRoot, errNoAccess)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: %w", errNotRoot, errNoDaemon)
	case err != nil:
		return fmt.Errorf("ask daemon: %w", err)
	}
	folder, err := os.OpenFile(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		conn.Close()
		return fmt.Errorf("find working directory: %w", err)
	}
	defer folder.Close()
	person, done := e.person()
	defer done()
	e.status, err = person.Attend(conn, members.Request{
		Command: command, Env: os.Environ(),
		Policy: f.policy, Profile: f.profile, User: f.user, With: f.with, Login: f.login, Allow: f.allow, Write: f.write,
		Passphrase: f.passphraseFD != 0, Attended: term.IsTerminal(int(e.stderr.Fd())), Terminal: hasTerminal(),
	}, folder)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// isReload tells a signal that means another thing where there is no terminal.
func isReload(s syscall.Signal, terminal bool) bool { return s == unix.SIGHUP && !terminal }
