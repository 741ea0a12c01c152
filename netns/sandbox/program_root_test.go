// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// beside runs argv beside the agent of r, and returns what it wrote and how it
// ended.
func (r *rig) beside(argv ...string) (string, Status) {
	r.t.Helper()
	output := newCapture(r.t)
	p, err := r.runBeside(nil, output.in, argv...)
	must(r.t, err)
	output.in.Close()
	status, err := p.Wait()
	must(r.t, err)
	return output.end(), status
}

func (r *rig) runBeside(in, out *os.File, argv ...string) (*Program, error) {
	r.t.Helper()
	console, err := OpenConsole(in, out, out)
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, console.Close()) })
	return r.child.Run(r.t.Context(), ProgramConfig{
		Argv: argv, Env: r.launch.Env, Streams: console.Streams(), Attendant: console,
	})
}

// idle starts an agent that waits until the end of the test.
func (r *rig) idle() {
	r.t.Helper()
	must(r.t, r.start("sleep", "1000"))
	go r.child.Wait()
}

// A program beside the agent is what the agent is, as the kernel tells it (P4,
// P10, P13), but for its parent and the others that it sees.
func TestPostureOfProgramIsTheAgents(t *testing.T) {
	r := newRig(t)
	r.idle()
	got, status := r.beside("bash", "-c", `exec -a agent:posture "$0"`, self(t))
	got = strings.Replace(got, "SigIgn "+ignoredSignals(t)+"\n", "SigIgn inherited\n", 1)
	want, err := os.ReadFile(filepath.Join("testdata", "posture.golden"))
	must(t, err)
	own := func(text string) string { // init, the agent, the leader and the program
		var kept []string
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "PPid ") && !strings.HasPrefix(line, "processes ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	if diff := cmp.Diff(own(string(want)), own(got)); diff != "" || status != (Status{}) {
		t.Errorf("ended with %+v, posture (-agent +program):\n%s", status, diff)
	}
}

// It is in the agent's namespaces, cgroup, keyring and rules, and not beside
// them: it may signal the agent and reach its abstract sockets.
func TestProgramIsBesideTheAgent(t *testing.T) {
	r := newRig(t)
	output := newCapture(t)
	r.config.Stdout = output.in
	must(t, r.start("sh", "-c", "trap 'echo caught; exit 5' TERM; for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done >new; echo $$ >pid; mv new spaces; while :; do sleep 1000 & wait; done"))
	go r.child.Wait()
	script := "until test -e spaces; do :; done; for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done | cmp - spaces && echo same; kill -TERM $(cat pid)"
	if text, status := r.beside("sh", "-c", script); !strings.HasPrefix(text, "same\n") || status.Code != 0 && status.Signal != unix.SIGKILL {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
	if status, err := r.child.Wait(); err != nil || status != (Status{Code: 5}) {
		t.Errorf("the agent ended with %+v, %v", status, err)
	}
}

func TestProgramStatus(t *testing.T) {
	r := newRig(t)
	r.idle()
	for name, c := range map[string]struct {
		script string
		want   Status
	}{
		"zero":    {"exit 0", Status{}},
		"highest": {"exit 255", Status{Code: 255}},
		"signal":  {"kill -TERM $$", Status{Code: 128 + 15}},
		"killed":  {"kill -KILL $$", Status{Code: 128 + 9}},
		"daemon":  {"setsid sleep 1000 & echo out; exit 3", Status{Code: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.CreateTemp(t.TempDir(), "") // relayed: a daemon holds the pipe
			must(t, err)
			defer file.Close()
			p, err := r.runBeside(nil, file, "sh", "-c", c.script)
			must(t, err)
			if got, err := p.Wait(); got != c.want || err != nil {
				t.Errorf("status is %+v, want %+v, %v", got, c.want, err)
			}
		})
	}
}

func TestProgramNotThere(t *testing.T) {
	r := newRig(t)
	must(t, os.WriteFile(filepath.Join(r.dir, "command"), []byte("#!/no/such/shell\n"), 0o755))
	r.idle()
	for argv, want := range map[string]error{
		"no-such-command": ErrNotFound, "/etc/passwd": ErrNotExecutable, "./command": ErrNotExecutable,
	} {
		_, err := r.runBeside(nil, nil, argv)
		var stage *StageError
		if !errors.Is(err, want) || !errors.As(err, &stage) || stage.Stage != StageExec {
			t.Errorf("%s: %v, want %v", argv, err, want)
		}
	}
	if text, status := r.beside("echo", "on"); text != "on\n" || status != (Status{}) {
		t.Errorf("afterwards: wrote %q and ended with %+v", text, status)
	}
}

// With the agent the session ends, and every program beside it.
func TestProgramEndsWithTheAgent(t *testing.T) {
	r := newRig(t)
	in, out, err := os.Pipe()
	must(t, err)
	defer out.Close()
	r.config.Stdin = in
	must(t, r.start("cat"))
	must(t, in.Close())
	go r.child.Wait()
	p, err := r.runBeside(nil, nil, "sleep", "1000")
	must(t, err)
	must(t, out.Close())
	if status, err := p.Wait(); status != (Status{Signal: unix.SIGKILL}) || err != nil {
		t.Errorf("ended with %+v, %v", status, err)
	}
	if _, err := r.runBeside(nil, nil, "true"); !errors.Is(err, ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
}

// Who has left before the program began leaves none behind.
func TestProgramIsCalledOff(t *testing.T) {
	r := newRig(t)
	r.idle()
	ctx, left := context.WithCancel(t.Context())
	left()
	for range 20 { // which comes first is for the scheduler to say
		console, err := OpenConsole(nil, nil, nil)
		must(t, err)
		p, err := r.child.Run(ctx, ProgramConfig{Argv: []string{"sleep", "1000"}, Env: r.launch.Env, Streams: console.Streams(), Attendant: console})
		must(t, err)
		if status, err := p.Wait(); status != (Status{Signal: unix.SIGKILL}) || err != nil {
			t.Fatalf("ended with %+v, %v", status, err)
		}
		must(t, console.Close())
	}
}

// What would lead out is refused by the leader, whoever passes it.
func TestR8ProgramGetsNoSocket(t *testing.T) {
	r := newRig(t)
	r.idle()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[1])
	console, err := OpenConsole(nil, nil, nil)
	must(t, err)
	streams := console.Streams()
	streams.Files[1].Close()
	streams.Files[1] = os.NewFile(uintptr(pair[0]), "socket")
	_, err = r.child.Run(t.Context(), ProgramConfig{Argv: []string{"true"}, Streams: streams, Attendant: console})
	var stage *StageError
	if !errors.As(err, &stage) || stage.Stage != StagePosture {
		t.Errorf("run: %v", err)
	}
}

// P6: a program has a terminal of its own in the session, and its stops and
// signals are its own.
func TestP6TerminalOfProgram(t *testing.T) {
	r := newRig(t)
	r.idle()
	far, near, err := pty.Open()
	must(t, err)
	defer far.Close()
	defer near.Close()
	must(t, pty.Setsize(far, &pty.Winsize{Rows: 33, Cols: 77}))
	c := &console{t: t, far: pollable(t, far), near: near}
	c.text = bufio.NewReader(c.far)
	a := &attendant{Stopping: make(chan struct{}, 8)}
	a.Console, err = OpenConsole(near, near, near)
	must(t, err)
	// As a supervisor in the foreground would have made it.
	_, err = term.MakeRaw(int(near.Fd()))
	must(t, err)
	script := "tty; stty size; trap 'echo caught' INT; echo ready; read line; echo got $line; kill -TSTP $$; echo on; (setsid sleep 1000 &); exit 3"
	p, err := r.child.Run(t.Context(), ProgramConfig{
		Argv: []string{"bash", "-c", script}, Env: r.launch.Env, Streams: a.Streams(), Attendant: a,
	})
	must(t, err)
	if got := c.until("ready\r\n"); got != "/dev/pts/0\r\n33 77\r\nready\r\n" {
		t.Errorf("saw %q", got)
	}
	// At once: a signal that comes just before the shell's read(2) is looked at
	// when that returns.
	for _, typed := range []string{"\x03", "hello\r"} {
		_, err = fmt.Fprint(a.master, typed)
		must(t, err)
	}
	c.until("caught\r\n")
	c.until("got hello\r\n")
	<-a.Stopping
	must(t, p.Signal(unix.SIGCONT))
	c.until("on\r\n")
	if status, err := p.Wait(); status != (Status{Code: 3}) || err != nil {
		t.Errorf("ended with %+v, %v", status, err)
	}
}

// attendant is a console whose keys the test types, and that stays when the
// program is stopped.
type attendant struct {
	*Console
	master   *os.File
	Stopping chan struct{}
}

func (a *attendant) Attach(master *os.File) error {
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.SetNonblock(fd, true)
	a.master = os.NewFile(uintptr(fd), "master")
	return a.Console.Attach(master)
}

func (a *attendant) Stopped(unix.Signal) bool {
	a.Stopping <- struct{}{}
	return false
}
