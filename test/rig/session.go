// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// AuditLog is where phantom-ns writes its records.
const AuditLog = "/var/log/phantom-ns/audit.jsonl"

// Session is one `phantom-ns run`, started as sudo starts it for [User].
type Session struct {
	Policy string     // text of the policy file; empty: no --policy
	With   []string   // --with
	Allow  []string   // --allow
	Write  []string   // --write
	Flags  []string   // further flags, as they are
	Args   []string   // the agent's command
	Env    []string   // added to the environment that sudo hands on
	Dir    string     // working directory; empty: [Work]
	User   string     // --user U, as plain root: no SUDO_ variables
	Root   bool       // plain root, and no --user
	Under  []string   // a program that runs phantom-ns, and its arguments before that
	Stdin  io.Reader  // nil: /dev/null
	Stdout io.Writer  // gets the agent's output while it runs, beside Result, and is closed behind it if it can be; nil: nobody
	Stderr io.Writer  // gets what is written to stderr, instead of Result: a terminal, for one; nil: Result
	Files  []*os.File // further descriptors of phantom-ns itself, from 3 on

	Terminal *os.File            // its standard streams and controlling terminal
	As       *syscall.Credential // who starts it, without sudo; nil: root
	// Timeout ends a session that hangs; 0 is one minute, or as many as RIG_PACE
	// says, for machines that are emulated. The test fails then.
	Timeout time.Duration
}

// Result is how a session ended.
type Result struct {
	Stdout string
	Stderr string
	Exit   int // as a shell reports it: 128+n by signal n
}

// sudoPath is the PATH of Debian's sudo (secure_path in sudoers).
const sudoPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Run runs one session to its end.
func (w *World) Run(s Session) Result {
	w.t.Helper()
	return w.Start(s).Wait()
}

// Process is a session, or another command of the world, that runs.
type Process struct {
	*exec.Cmd
	t              testing.TB
	ctx            context.Context
	stdout, stderr bytes.Buffer
	drain          func() // waits for the last of Session.Stdout; nil: there is none
	waited         bool
}

// outputDelay is how long a process that has ended may be survived by others
// that hold its output open.
const outputDelay = 5 * time.Second

// Start starts a session and returns while it runs. It is ended with the test.
func (w *World) Start(s Session) *Process {
	w.t.Helper()
	args := []string{"run"}
	if s.User != "" {
		args = append(args, "--user", s.User)
	}
	if s.Policy != "" {
		path := filepath.Join(etc, "session.yaml")
		w.Write(path, []byte(s.Policy), 0o644)
		args = append(args, "--policy", path)
	}
	for flag, values := range map[string][]string{"--with": s.With, "--allow": s.Allow, "--write": s.Write} {
		for _, value := range values {
			args = append(args, flag, value)
		}
	}
	args = append(append(args, s.Flags...), "--")
	words := slices.Concat(s.Under, []string{Binary(w.t)}, args, s.Args)
	return w.start(s, words[0], words[1:]...)
}

// Program starts a program in the world, as a session is started but for the
// command line.
func (w *World) Program(s Session, name string, args ...string) *Process {
	w.t.Helper()
	return w.start(s, name, args...)
}

// Command runs another subcommand of phantom-ns as root, to its end.
func (w *World) Command(stdin io.Reader, args ...string) Result {
	w.t.Helper()
	return w.start(Session{Root: true, Stdin: stdin, Dir: "/"}, Binary(w.t), args...).Wait()
}

// CommandWith is Command with further descriptors, from 3 on.
func (w *World) CommandWith(files []*os.File, stdin io.Reader, args ...string) Result {
	w.t.Helper()
	return w.start(Session{Root: true, Stdin: stdin, Dir: "/", Files: files}, Binary(w.t), args...).Wait()
}

func (w *World) start(s Session, name string, args ...string) *Process {
	w.t.Helper()
	timeout := s.Timeout
	if timeout == 0 {
		timeout = time.Minute * Pace()
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	p := &Process{t: w.t, ctx: ctx, Cmd: exec.CommandContext(ctx, name, args...)}
	p.Env = environment(s)
	p.Dir = s.Dir
	if p.Dir == "" {
		p.Dir = Work
	}
	p.Stdin, p.Cmd.Stdout, p.Cmd.Stderr = s.Stdin, &p.stdout, &p.stderr
	output := func() {}
	if s.Stdout != nil {
		output = p.copyTo(s.Stdout)
	}
	if s.Stderr != nil {
		p.Cmd.Stderr = s.Stderr
	}
	p.ExtraFiles = s.Files
	// Without the test's own terminal: with one, SIGHUP means another thing.
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.As}
	if s.Terminal != nil {
		p.Stdin, p.Cmd.Stdout, p.Cmd.Stderr = s.Terminal, s.Terminal, s.Terminal
		p.SysProcAttr.Setctty = true
	}
	// A hung session is asked first, so that it can sweep up after itself.
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = outputDelay
	w.must("start "+filepath.Base(name), p.Cmd.Start)
	output()
	w.t.Cleanup(func() {
		cancel()
		if !p.waited {
			p.end()
		}
	})
	return p
}

// copyTo has the output go to w, too, as it comes. What it returns begins that,
// once the process has the other end.
func (p *Process) copyTo(w io.Writer) (begin func()) {
	r, output, err := os.Pipe()
	if err != nil {
		p.t.Fatalf("rig: %v", err)
	}
	copied := make(chan struct{})
	p.Cmd.Stdout, p.drain = output, func() {
		r.SetReadDeadline(time.Now().Add(outputDelay))
		<-copied
	}
	return func() {
		output.Close()
		go func() {
			defer close(copied)
			defer r.Close()
			io.Copy(io.MultiWriter(&p.stdout, w), r)
			if c, ok := w.(io.Closer); ok {
				c.Close() // else whoever reads waits for one that has ended
			}
		}()
	}
}

// end waits for the process and its output.
func (p *Process) end() error {
	err := p.Cmd.Wait()
	p.waited = true
	if p.drain != nil {
		p.drain()
	}
	return err
}

func environment(s Session) []string {
	if s.As != nil {
		return append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb", "LANG=C.UTF-8", "HOME=/home/" + User,
			"LOGNAME=" + User, "USER=" + User, "SHELL=/bin/sh"}, s.Env...)
	}
	env := []string{sudoPath, "TERM=dumb", "LANG=C.UTF-8", "HOME=/root", "LOGNAME=root", "USER=root", "SHELL=/bin/sh"}
	if s.User == "" && !s.Root {
		env = append(env,
			"SUDO_UID="+strconv.Itoa(UID), "SUDO_GID="+strconv.Itoa(GID), "SUDO_USER="+User, "SUDO_COMMAND=phantom-ns run")
	}
	return append(env, s.Env...)
}

// Wait waits for the end and fails the test when the time limit brought it.
func (p *Process) Wait() Result {
	p.t.Helper()
	err := p.end()
	r := Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Exit: p.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case errors.Is(p.ctx.Err(), context.DeadlineExceeded):
		p.t.Fatalf("rig: %s hung\nstdout: %s\nstderr: %s", p.Args, r.Stdout, r.Stderr)
	case err != nil && !errors.As(err, &exit):
		p.t.Fatalf("rig: wait for %s: %v", p.Args, err)
	}
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		r.Exit = 128 + int(status.Signal())
	}
	return r
}

// Bytes is everything the session printed.
func (r Result) Bytes() []byte { return []byte(r.Stdout + r.Stderr) }

// String is what a failing test prints of a result.
func (r Result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", r.Exit, r.Stdout, r.Stderr)
}

// Audit returns the records of the world's sessions so far, oldest first, and
// fails the test when one does not parse or the chain is broken.
func (w *World) Audit() []audit.Record {
	w.t.Helper()
	data := w.Read(AuditLog)
	if err := audit.Verify(bytes.NewReader(data)); err != nil {
		w.t.Fatalf("rig: audit log: %v\n%s", err, data)
	}
	var records []audit.Record
	decoder := audit.NewDecoder(bytes.NewReader(data))
	for {
		record, err := decoder.Read()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			w.t.Fatalf("rig: audit log: %v\n%s", err, data)
		}
		records = append(records, record)
	}
}

// Pace is how many times as long an emulated machine may take: RIG_PACE, or 1.
func Pace() time.Duration {
	n, err := strconv.Atoi(os.Getenv("RIG_PACE"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
}
