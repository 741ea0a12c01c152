// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

var (
	errNoDaemon = errors.New("no daemon to ask")
	errNoAccess = errors.New("the daemon does not take it")
)

// runAsMember has the node's daemon start the session. What stands on this side
// is the terminal.
func (e *env) runAsMember(f runFlags, command []string) error {
	folder, err := os.OpenFile(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("find working directory: %w", err)
	}
	defer folder.Close()
	return e.askDaemon("run", members.Request{
		Command: command, Env: os.Environ(),
		Policy: f.policy, Profile: f.profile, User: f.user, With: f.with, Login: f.login, Allow: f.allow, Write: f.write,
		Passphrase: f.passphraseFD != 0, Attended: term.IsTerminal(int(e.stderr.Fd())), Terminal: hasTerminal(),
	}, folder)
}

// askDaemon has what a member wants done in their name; verb says it in errors.
func (e *env) askDaemon(verb string, request members.Request, more ...*os.File) error {
	person, done := e.person()
	defer done()
	return e.attendDaemon(verb, person, request, more...)
}

func (e *env) attendDaemon(verb string, person console.Person, request members.Request, more ...*os.File) error {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: members.Socket, Net: "unixpacket"})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", errNotRoot, errNoAccess)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: %w", errNotRoot, errNoDaemon)
	case err != nil:
		return fmt.Errorf("ask daemon: %w", err)
	}
	if e.status, err = person.Attend(conn, request, more...); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// membersOwn lists the sessions of the member who runs this.
func (e *env) membersOwn() ([]listed, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	answered := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(out) // a part of it does not decode
		answered <- text
	}()
	person, done := e.person()
	defer done()
	person.Stdin, person.Stdout, person.Stderr = null, in, null
	err = e.attendDaemon("ps", person, members.Request{Do: members.DoList})
	in.Close()
	text := <-answered
	if err != nil || e.status != 0 {
		return nil, err // it was told why
	}
	var all []listed
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&all); err != nil {
		return nil, fmt.Errorf("ps: read answer: %w", err)
	}
	return all, nil
}

// isReload tells a signal that means another thing where there is no terminal.
func isReload(s syscall.Signal, terminal bool) bool { return s == unix.SIGHUP && !terminal }
