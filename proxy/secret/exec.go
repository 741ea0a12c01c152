// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// execPath is where a program of an exec: reference finds others.
	execPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// maxStderr is how much of a program's stderr is kept, in bytes.
	maxStderr = 4 << 10

	// maxComplaint is how much of that an error shows, in bytes.
	maxComplaint = 200

	// drain is how long output may stay open once the program has ended.
	drain = time.Second
)

// fetchExec runs a program that only root can have put there and takes its
// output. The program's arguments are the policy's to answer for.
func fetchExec(ctx context.Context, argv []string, env Env) (Value, error) {
	if err := rootOnly(argv[0]); err != nil {
		return Value{}, err
	}
	if st, err := os.Stat(argv[0]); err != nil {
		return Value{}, err
	} else if !st.Mode().IsRegular() {
		return Value{}, &fs.PathError{Op: "run", Path: argv[0], Err: unix.EACCES}
	}
	return run(ctx, argv, env)
}

// run gives the program no stdin, no terminal, no descriptor and a cleared
// environment, and ends it with its whole process group.
func run(ctx context.Context, argv []string, env Env) (Value, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, complaint := &lockedOutput{full: stop}, &head{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = execEnv(env)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = drain
	// A session of its own is a process group of its own without a terminal to
	// ask on. The group goes when the helper goes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err := cmd.Run()
	if cmd.Process != nil {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	switch {
	case errors.Is(out.err, ErrLong):
		err = ErrLong
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("run %q: %w", argv[0], context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		err = fmt.Errorf("run %q: a process it left behind holds its output open", argv[0])
	case out.err != nil:
		err = fmt.Errorf("read output of %q: %w", argv[0], out.err)
	case err != nil:
		err = fmt.Errorf("run %q: %w%s", argv[0], err, complaint.excerpt())
	}
	if err != nil {
		out.value.Wipe()
		return Value{}, err
	}
	out.value.tidy()
	return out.value, nil
}

func execEnv(env Env) []string {
	return []string{
		"PATH=" + execPath,
		"HOME=" + env.Home,
		"USER=" + env.User,
		"LANG=C.UTF-8",
		fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", env.UID),
		"DBUS_SESSION_BUS_ADDRESS=" + env.bus(),
	}
}

// lockedOutput takes a program's stdout without a copy on the heap.
type lockedOutput struct {
	value Value
	err   error
	full  func()
}

// ReadFrom is what os/exec's copy comes down to.
func (o *lockedOutput) ReadFrom(r io.Reader) (int64, error) {
	o.value, o.err = readLocked(r)
	if errors.Is(o.err, ErrLong) {
		o.full()
	}
	return int64(o.value.Len()), o.err
}

func (o *lockedOutput) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// head keeps the first bytes written to it.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxStderr-len(h.kept))]...)
	return len(p), nil
}

// long is any run of characters that could be a credential by Check's own
// measure, paths included: better a poorer message than a key in it.
var long = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(fmt.Sprintf(`\S{%d,}`, MinLength)) })

// excerpt is the first line, quoted, with long words taken out, so that a
// program which prints its token while it complains does not print it here.
func (h *head) excerpt() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(h.kept)), "\n")
	if line == "" {
		return ""
	}
	return fmt.Sprintf(": %q", oneLine(long().ReplaceAllString(line, "[…]"), maxComplaint))
}
