// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

var (
	errNotAdministrators = errors.New("not a policy of the administrator's")
	errProfileFixed      = errors.New("the policy names another profile")
)

// supervisorMain does what a member wants, who is at the other end of the
// socket: it supervises their session, or deals with others of theirs. It never
// returns.
func supervisorMain() {
	runtime.LockOSThread() // as in main
	if err := supervise(); err != nil {
		fmt.Fprintln(os.Stderr, members.SupervisorStage+":", err)
		os.Exit(exitOurs)
	}
	os.Exit(0)
}

// supervise returns what nobody else can be told.
func supervise() error {
	unix.CloseOnExec(members.ConnectionFD)
	file := os.NewFile(members.ConnectionFD, "member")
	generic, err := net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	conn, ok := generic.(*net.UnixConn)
	if !ok {
		return net.ErrClosed
	}
	peer, _, err := members.Peer(conn)
	if err != nil {
		return err
	}
	request, err := readRequest(conn)
	if err == nil && request.Do == members.DoExec {
		if err = introduce(conn, request, peer); err == nil {
			return nil // the session speaks to the member now
		}
	}
	more := 0
	if request.Do == members.DoRun {
		more = 1
	}
	far, refused := console.Accept(conn, more)
	if refused != nil {
		return errors.Join(err, refused)
	}
	defer far.Close()
	e, said := newSupervisorEnv(far)
	if err == nil {
		err = e.serveMember(far, request, int(peer.Uid))
	}
	if err != nil {
		e.complain(err)
		e.status = exitStatus(err)
	}
	said()
	far.Exit(e.status)
	return nil
}

// newSupervisorEnv is an env whose stderr the member reads, line by line. Said
// returns when all that was said is sent.
func newSupervisorEnv(far *console.Far) (e *env, said func()) {
	e = newEnv()
	e.stdin, e.stdout = nil, nil
	out, in, err := os.Pipe()
	if err != nil {
		return e, func() {}
	}
	e.stderr = in
	var lines sync.WaitGroup
	lines.Go(func() {
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			far.Tell(scanner.Text())
		}
	})
	return e, func() {
		in.Close()
		lines.Wait()
		out.Close()
	}
}

// supervise runs the session of uid. The member's death ends it.
func (e *env) supervise(far *console.Far, request members.Request, uid int) error {
	config, err := e.memberConfig(request, far, uid)
	if err != nil {
		return err
	}
	ctx, gone := context.WithCancel(e.ctx)
	e.ctx = ctx
	var current sessionOf
	go func() {
		defer gone()
		far.Listen(func(s syscall.Signal) {
			if !current.signal(s, request.Terminal) {
				gone() // there is none yet to take it
			}
		})
	}()
	return e.attend(config, current.set)
}

// sessionOf is a session that may not have begun.
type sessionOf struct {
	mu        sync.Mutex
	session   *enforcer.Session
	reloading atomic.Bool
}

func (o *sessionOf) set(s *enforcer.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.session = s
}

// signal is false where nobody takes a signal that ends.
func (o *sessionOf) signal(s syscall.Signal, terminal bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.session == nil:
		return s == unix.SIGCONT || s == unix.SIGWINCH
	case isReload(s, terminal):
		o.reload()
	default:
		// The agent may have ended meanwhile.
		_ = o.session.Signal(s)
	}
	return true
}

// credentials is where a unit's credentials are (systemd.exec(5)); the daemon
// hands its own on.
const credentials = "CREDENTIALS_DIRECTORY"

// reload reads the policy again, unless that is under way.
func (o *sessionOf) reload() {
	if o.reloading.Swap(true) {
		return
	}
	session := o.session
	go func() {
		defer o.reloading.Store(false)
		_ = session.Reload() // says itself how it went
	}()
}

// memberConfig is what sudo would have made of the request, as far as it may
// go.
func (e *env) memberConfig(r members.Request, far *console.Far, uid int) (enforcer.Config, error) {
	config := enforcer.Config{
		Caller: enforcer.ParseEnviron(r.Env), Logger: e.logger(), Member: true,
		Notify: func(line string) { e.say("%s", line) }, Attended: r.Attended,
		Command: r.Command, Write: r.Write, Streams: &far.Streams, Attendant: far,
	}
	// A source that is read as root is not where the member says it is.
	config.Caller[credentials] = e.getenv(credentials)
	var err error
	if config.User, err = enforcer.FindUser(strconv.Itoa(uid), ""); err != nil {
		return config, err
	}
	config.Invoker.User = &config.User
	if err := r.Check(config.User); err != nil {
		return config, err
	}
	if config.Dir, err = members.Directory(far.Files[0], config.Invoker); err != nil {
		return config, err
	}
	if err := members.Reachable(r.Write, config.Dir, config.User.Home, config.Invoker); err != nil {
		return config, err
	}
	f := runFlags{profile: r.Profile}
	if r.Policy != "" {
		f.policy = filepath.Join(os.Args[1], r.Policy+".yaml")
	}
	read := func(config *enforcer.Config) error { return e.readMemberPolicy(f, config) }
	if err := read(&config); err != nil {
		return config, err
	}
	if config.Profile, err = chooseForMember(config.Policy, r.Profile, r.Command[0]); err != nil {
		return config, err
	}
	again := config
	config.Reread = func() (enforcer.Reread, error) {
		again.Policy, again.Trusted = nil, false
		if err := read(&again); err != nil {
			return enforcer.Reread{}, err
		}
		profile, err := chooseForMember(again.Policy, r.Profile, r.Command[0])
		return enforcer.Reread{Policy: again.Policy, Trusted: again.Trusted, Profile: profile}, err
	}
	if givesNothing(config) {
		e.say("no policy, so no credential and no egress; --policy NAME gives some, where the administrator has written one")
	}
	return config, nil
}

// readMemberPolicy reads a policy that is the administrator's own.
func (e *env) readMemberPolicy(f runFlags, config *enforcer.Config) error {
	if err := e.readPolicy(f, config); err != nil {
		return err
	}
	if config.Policy != nil && !config.Trusted {
		return fmt.Errorf("read policy %s: %w", config.Policy.Name, errNotAdministrators)
	}
	return nil
}

// chooseForMember is policy.Choose, but that a member's choice does not stand
// against the policy's.
func chooseForMember(file *policy.File, flag, command string) (*policy.Profile, error) {
	if file != nil && file.Profile != "" && flag != "" && flag != file.Profile {
		return nil, fmt.Errorf("--profile %q: %w: %s", strings.ToValidUTF8(flag, "?"), errProfileFixed, file.Profile)
	}
	return policy.Choose(file, flag, command)
}
