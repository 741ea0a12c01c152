// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// supervised is a session in a supervisor of its own, which tests may kill or
// put on a terminal.
type supervised struct {
	Spec   Spec
	Launch Launch
	Cgroup string
}

// superviseTest is that supervisor: it writes init's process id to descriptor
// 3 and exits as the agent did.
func superviseTest() int {
	code, err := supervise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		return 125
	}
	return code
}

func supervise() (int, error) {
	var s supervised
	if err := json.Unmarshal([]byte(os.Getenv("SESSION")), &s); err != nil {
		return 0, err
	}
	ns, err := netns.New()
	if err != nil {
		return 0, err
	}
	cgroup, err := os.Open(s.Cgroup)
	if err != nil {
		return 0, err
	}
	child, err := Start(context.Background(), Config{
		Cgroup: cgroup, Namespace: ns, Spec: s.Spec, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		return 0, err
	}
	if _, err := child.Listeners(); err != nil {
		return 0, err
	}
	if err := child.Launch(s.Launch); err != nil {
		return 0, errors.Join(err, child.Close())
	}
	report := os.NewFile(3, "report")
	fmt.Fprintln(report, child.PID())
	report.Close()
	status, err := child.Wait()
	return status.Code + int(status.Signal), errors.Join(err, child.Close())
}

// supervisor makes the command, and what it reports.
func (r *rig) supervisor(argv ...string) (*exec.Cmd, *os.File) {
	r.t.Helper()
	r.launch.Argv = argv
	session, err := json.Marshal(supervised{Spec: r.config.Spec, Launch: r.launch, Cgroup: r.config.Cgroup.Name()})
	must(r.t, err)
	out, in, err := os.Pipe()
	must(r.t, err)
	r.t.Cleanup(func() { out.Close(); in.Close() })
	cmd := &exec.Cmd{
		Path: self(r.t), Args: []string{"supervisor"}, Env: []string{"SESSION=" + string(session)},
		Stdout: r.output.in, Stderr: r.output.in, ExtraFiles: []*os.File{in},
	}
	return cmd, out
}

// O5: the supervisor is killed; so is everything of the session.
func TestO5SupervisorKilled(t *testing.T) {
	r := newRig(t)
	cmd, report := r.supervisor("sh", "-c", "setsid sleep 1000 & exec sleep 1000")
	must(t, cmd.Start())
	var pid int
	_, err := fmt.Fscan(report, &pid)
	must(t, err)
	pidfd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	defer unix.Close(pidfd)
	must(t, cmd.Process.Kill())
	cmd.Wait()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 20_000); n != 1 {
		t.Fatalf("init lives: %v", err)
	}
	r.output.end() // no process holds the pipe any more
}

// console is a user's terminal with a supervisor on it.
type console struct {
	t    *testing.T
	far  *os.File // where the user sits
	near *os.File
	cmd  *exec.Cmd
	text *bufio.Reader
}

func newConsole(r *rig, argv ...string) *console {
	r.t.Helper()
	far, near, err := pty.Open()
	must(r.t, err)
	r.t.Cleanup(func() { far.Close(); near.Close() })
	must(r.t, pty.Setsize(far, &pty.Winsize{Rows: 33, Cols: 77}))
	far = pollable(r.t, far)
	c := &console{t: r.t, far: far, near: near, text: bufio.NewReader(far)}
	c.cmd, _ = r.supervisor(argv...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = near, near, near
	return c
}

// pollable is the file with deadlines, so that a test that waits in vain ends.
func pollable(t *testing.T, file *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	must(t, errors.Join(err, unix.SetNonblock(fd, true)))
	again := os.NewFile(uintptr(fd), file.Name())
	t.Cleanup(func() { again.Close() })
	must(t, again.SetReadDeadline(time.Now().Add(20*time.Second)))
	return again
}

// start runs the supervisor as the foreground of the terminal.
func (c *console) start() {
	c.t.Helper()
	c.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	must(c.t, c.cmd.Start())
}

func (c *console) key(keys string) {
	c.t.Helper()
	_, err := c.far.WriteString(keys)
	must(c.t, err)
}

// until reads what the user sees up to and with the mark.
func (c *console) until(mark string) string {
	c.t.Helper()
	var seen strings.Builder
	for !strings.HasSuffix(seen.String(), mark) {
		b, err := c.text.ReadByte()
		if err != nil {
			c.t.Fatalf("after %q: %v", seen.String(), err)
		}
		seen.WriteByte(b)
	}
	return seen.String()
}

func (c *console) mode() unix.Termios {
	c.t.Helper()
	var mode *unix.Termios
	must(c.t, withFD(c.near, func(fd int) (err error) {
		mode, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	}))
	return *mode
}

// P6: the agent's terminal is the session's own, of the same size; the user's
// is raw meanwhile and afterwards as before.
func TestP6Terminal(t *testing.T) {
	c := newConsole(newRig(t), "sh", "-c", "tty; stty size; echo ready; read line; echo got $line; exec 2>/dev/tty; echo end >&2; exit 3")
	before := c.mode()
	c.start()
	if got := c.until("ready\r\n"); got != "/dev/pts/0\r\n33 77\r\nready\r\n" {
		t.Errorf("saw %q", got)
	}
	if during := c.mode(); during.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("the terminal is not raw: %#x", during.Lflag)
	}
	c.key("hello\r")
	if got := c.until("end\r\n"); got != "hello\r\ngot hello\r\nend\r\n" {
		t.Errorf("saw %q", got)
	}
	if c.cmd.Wait(); c.cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("ended with %v", c.cmd.ProcessState)
	}
	if after := c.mode(); after != before {
		t.Errorf("the terminal was %+v and is %+v", before, after)
	}
}

// Ctrl-C is the agent's, not the supervisor's.
func TestTerminalInterrupt(t *testing.T) {
	c := newConsole(newRig(t), "sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do read line; done")
	c.start()
	c.until("ready\r\n")
	c.key("\x03")
	c.key("\n") // a shell that had not begun to read yet sees to its trap behind the line
	c.until("caught\r\n")
	if c.cmd.Wait(); c.cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("ended with %v", c.cmd.ProcessState)
	}
}

func TestTerminalResize(t *testing.T) {
	r := newRig(t)
	r.launch.Path = self(t)
	c := newConsole(r, "agent:resize", "40x100")
	c.start()
	c.until("ready\r\n")
	must(t, pty.Setsize(c.far, &pty.Winsize{Rows: 40, Cols: 100}))
	c.until("40x100\r\n")
	must(t, c.cmd.Wait())
}

// Ctrl-Z stops the agent and then the supervisor, with the terminal as it was;
// continuing goes the same way back.
func TestTerminalStop(t *testing.T) {
	c := newConsole(newRig(t), "sh", "-c", "echo ready; read line; echo got $line")
	before := c.mode()
	// The supervisor is the child of a shell, as a group nobody could continue
	// is not stopped.
	shell := exec.Command("sh", "-c", `set -m; "$0" "$@"; echo stopped; read go; fg >/dev/null; exit $?`)
	shell.Args = append(shell.Args, c.cmd.Path)
	shell.Env, shell.ExtraFiles = c.cmd.Env, c.cmd.ExtraFiles
	shell.Env = append(shell.Env, "PATH=/usr/bin:/bin", "SUPERVISE=1")
	shell.Stdin, shell.Stdout, shell.Stderr = c.near, c.near, c.near
	c.cmd = shell
	c.start()
	c.until("ready\r\n")
	c.key("\x1a")
	c.until("stopped\r\n")
	if during := c.mode(); during.Lflag != before.Lflag {
		t.Errorf("the terminal was %#x and is %#x", before.Lflag, during.Lflag)
	}
	c.key("\n")
	c.until("\r\n")
	c.key("hello\r")
	c.until("got hello\r\n")
	must(t, c.cmd.Wait())
	if after := c.mode(); after != before {
		t.Errorf("the terminal was %+v and is %+v", before, after)
	}
}

// With input from elsewhere the terminal stays as it is, and the agent cannot
// read the user's keys from it.
func TestTerminalForOutputAlone(t *testing.T) {
	c := newConsole(newRig(t), "sh", "-c", "tty <&2; stty -F /dev/tty -a >/dev/null && echo mine; cat")
	in, out, err := os.Pipe()
	must(t, err)
	c.cmd.Stdin = in
	before := c.mode()
	c.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	must(t, c.cmd.Start())
	if got := c.until("mine\r\n"); got != "/dev/pts/0\r\nmine\r\n" {
		t.Errorf("saw %q", got)
	}
	if during := c.mode(); during != before {
		t.Errorf("the terminal was %+v and is %+v", before, during)
	}
	_, err = io.WriteString(out, "piped\n")
	must(t, errors.Join(err, out.Close(), in.Close()))
	c.until("piped\r\n")
	must(t, c.cmd.Wait())
}
