// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitStatus(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   Status
	}{
		"zero":    {"exit 0", Status{}},
		"code":    {"exit 7", Status{Code: 7}},
		"highest": {"exit 255", Status{Code: 255}},
		"signal":  {"kill -TERM $$", Status{Signal: unix.SIGTERM}},
		"killed":  {"kill -KILL $$", Status{Signal: unix.SIGKILL}},
		"orphan":  {"(sleep 1000 &) ; exit 3", Status{Code: 3}},
		"orphans": {"for i in 1 2 3 4 5; do (exec true &) ; done; exit 4", Status{Code: 4}},
		"stopped": {"(until grep -q '^State:.T' /proc/$$/status; do :; done; kill -CONT $$) & kill -STOP $$; wait; exit 5", Status{Code: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if text, got := r.run("sh", "-c", c.script); got != c.want {
				t.Errorf("status is %+v, want %+v: %s", got, c.want, text)
			}
		})
	}
}

// The agent must not end the session's init, whatever it sends.
// Where Landlock keeps signals within its domain (ABI 6) they are refused, else
// they are ignored.
func TestSignalsToInit(t *testing.T) {
	r := newRig(t)
	text, status := r.run("sh", "-c", "for s in HUP INT QUIT TERM USR1 SEGV PIPE STOP KILL TSTP; do kill -$s 1 2>&-; done; echo alive; exit 6")
	if text != "alive\n" || status != (Status{Code: 6}) {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
}

func TestSignalReachesGroup(t *testing.T) {
	r := newRig(t)
	ready := newCapture(t)
	r.config.Stdout = ready.in
	in, out, err := os.Pipe()
	must(t, err)
	defer out.Close()
	r.config.Stdin = in
	// The pipe's end tells that the trap is set; the child has the default.
	must(t, r.start("sh", "-c", "sleep 1000 & trap 'wait; echo caught; exit 9' TERM; exec 0<&-; wait"))
	in.Close()
	awaitHangup(t, out)
	must(t, r.child.Signal(unix.SIGTERM))
	status, err := r.child.Wait()
	must(t, err)
	if text := ready.end(); text != "caught\n" || status != (Status{Code: 9}) {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
	must(t, r.child.Signal(unix.SIGTERM)) // nobody is there any more
}

// awaitHangup blocks until the other end of the pipe is closed.
func awaitHangup(t *testing.T, pipe *os.File) {
	t.Helper()
	must(t, withFD(pipe, func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 20_000)
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		return err
	}))
}

func TestKillEndsSession(t *testing.T) {
	r := newRig(t)
	must(t, r.start("sh", "-c", "setsid sleep 1000 & sleep 1000"))
	must(t, r.child.Signal(unix.SIGKILL))
	status, err := r.child.Wait()
	must(t, err)
	if status != (Status{Signal: unix.SIGKILL}) {
		t.Errorf("ended with %+v", status)
	}
}

func TestCommandNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		content string // of a file called "command" in the working directory
		mode    os.FileMode
		argv    string
		want    error
	}{
		"no such name":        {argv: "no-such-command", want: ErrNotFound},
		"no such path":        {argv: "/no/such/command", want: ErrNotFound},
		"below a file":        {argv: "/etc/passwd/command", want: ErrNotFound},
		"not executable":      {content: "#!/bin/sh\n", mode: 0o644, argv: "./command", want: ErrNotExecutable},
		"no format":           {content: "echo\n", mode: 0o755, argv: "./command", want: ErrNotExecutable},
		"interpreter missing": {content: "#!/no/such/shell\n", mode: 0o755, argv: "./command", want: ErrNotExecutable},
		"a folder":            {argv: "/usr", want: ErrNotExecutable},
		"in PATH":             {content: "#!/bin/sh\n", mode: 0o644, argv: "command", want: ErrNotExecutable},
		"root's alone":        {argv: "/root/command", want: ErrNotExecutable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.launch.Env = append(r.launch.Env, "PATH=relative:/usr/bin:"+r.dir)
			if c.content != "" {
				must(t, os.WriteFile(filepath.Join(r.dir, "command"), []byte(c.content), c.mode))
			}
			err := r.start(c.argv)
			var stage *StageError
			if !errors.Is(err, c.want) || !errors.As(err, &stage) || stage.Stage != StageExec {
				t.Errorf("start: %v, want %v", err, c.want)
			}
		})
	}
}

func TestCommandFoundInPath(t *testing.T) {
	r := newRig(t)
	must(t, os.WriteFile(filepath.Join(r.dir, "command"), []byte("#!/bin/sh\necho $0 $1 $A\n"), 0o755))
	r.launch.Env = []string{"PATH=/no/such", "A=b", "PATH=/etc:" + r.dir}
	if text, _ := r.run("command", "argument"); text != r.dir+"/command argument b\n" {
		t.Errorf("wrote %q", text)
	}
}
