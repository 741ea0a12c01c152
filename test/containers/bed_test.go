// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// What test/setup/install.sh containers leaves.
const (
	archive = "/var/cache/phantom-ns-test/containers/image.tar"
	image   = "docker.io/library/node:22"
)

// bed is a world with a /run of its own and room for images on a disk, so that
// runtimes can have their usual paths in it.
type bed struct {
	*rig.World
	t       testing.TB // the part that runs
	whole   testing.TB // what it is a part of: daemons end with it
	scratch string
	mounts  string // the world's mount namespace
	cgroup  string // the parent of every container's
}

func newBed(t testing.TB) *bed {
	t.Helper()
	if _, err := os.Stat(archive); err != nil {
		t.Fatalf("run test/setup/install.sh containers: %v", err)
	}
	b := &bed{World: rig.New(t), t: t, whole: t, scratch: t.TempDir(), cgroup: fmt.Sprintf("phantom-ns-containers-%d", os.Getpid())}
	b.do(func() error {
		for _, dir := range []string{"/var/lib/containers", "/var/lib/containerd", "/var/lib/docker"} {
			disk := filepath.Join(b.scratch, filepath.Base(dir))
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Mkdir(disk, 0o755)); err != nil {
				return err
			}
			if err := unix.Mount(disk, dir, "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
			return err
		}
		if err := os.Mkdir("/run/lock", 0o1777); err != nil {
			return err
		}
		var err error
		b.mounts, err = os.Readlink("/proc/thread-self/ns/mnt")
		return err
	})
	t.Cleanup(b.sweep)
	return b
}

func (b *bed) do(f func() error) {
	b.t.Helper()
	if err := b.Do(f); err != nil {
		b.t.Fatal(err)
	}
}

// path puts Debian's programs before what else a machine may have of the name.
const path = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"

// command prepares a program of the world.
func (b *bed) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	program := args[0]
	b.do(func() error {
		for dir := range strings.SplitSeq(path, ":") {
			if _, err := os.Stat(filepath.Join(dir, args[0])); err == nil {
				program = filepath.Join(dir, args[0])
				return nil
			}
		}
		return fmt.Errorf("%s is not on %s", args[0], path)
	})
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"PATH=" + path, "HOME=/root", "LANG=C.UTF-8"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	return cmd, &out
}

// patience is how long a program of the world may take.
const patience = time.Minute

// try runs a program to its end and returns what it printed.
func (b *bed) try(args ...string) (string, error) {
	b.t.Helper()
	return b.tryWith(nil, args...)
}

func (b *bed) tryWith(stdin io.Reader, args ...string) (string, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd, out := b.command(ctx, args...)
	cmd.Stdin = stdin
	b.do(cmd.Start)
	err := cmd.Wait()
	// Something that it left behind may hold its output: that is not its end.
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out.String(), err
}

func (b *bed) run(args ...string) string {
	b.t.Helper()
	return b.runWith(nil, args...)
}

func (b *bed) runWith(stdin io.Reader, args ...string) string {
	b.t.Helper()
	out, err := b.tryWith(stdin, args...)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// serve starts a daemon and waits until probe succeeds. What it said is
// printed when the test fails.
func (b *bed) serve(probe []string, args ...string) *daemon {
	b.t.Helper()
	cmd, out := b.command(context.Background(), args...)
	b.do(cmd.Start)
	d := &daemon{b.whole, cmd, out, make(chan struct{})}
	go func() {
		defer close(d.ended)
		cmd.Wait()
	}()
	b.whole.Cleanup(func() {
		d.end(syscall.SIGTERM)
		if b.whole.Failed() {
			b.whole.Logf("%s said:\n%s", args[0], out)
		}
	})
	deadline := time.After(patience)
	again := time.NewTicker(50 * time.Millisecond) // there is nothing to wait on but the socket
	defer again.Stop()
	for {
		select {
		case <-d.ended:
			b.t.Fatalf("%s ended: %v\n%s", args[0], cmd.ProcessState, out)
		case <-deadline:
			b.t.Fatalf("%s does not answer\n%s", args[0], out)
		case <-again.C:
			if _, err := b.try(probe...); err == nil {
				return d
			}
		}
	}
}

// eventually runs a program until it succeeds.
func (b *bed) eventually(args ...string) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		out, err := b.try(args...)
		if err == nil {
			return
		}
		select {
		case <-deadline:
			b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// daemon is a process that serves.
type daemon struct {
	t     testing.TB
	cmd   *exec.Cmd
	out   *bytes.Buffer
	ended chan struct{}
}

// end asks it to end and waits.
func (d *daemon) end(s syscall.Signal) {
	d.cmd.Process.Signal(s) // it may have ended
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		d.t.Errorf("%s did not end", d.cmd.Args[0])
		d.cmd.Process.Kill()
		<-d.ended
	}
}

// sweep ends what runtimes left: shims and containers outlive their daemons by
// design. Whatever is in the world's mount namespace is the test's, and so is
// what descends from it.
func (b *bed) sweep() {
	for range 50 {
		left := b.processes()
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond) // nobody tells that a stranger's child is gone
	}
	for _, root := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		parents, _ := filepath.Glob(root + b.cgroup)
		for _, parent := range parents {
			removeCgroup(parent)
		}
	}
}

func removeCgroup(path string) {
	var all []string
	filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	for i := len(all) - 1; i >= 0; i-- {
		os.Remove(all[i])
	}
}

// processes lists those of the world, and those whose root is below its
// scratch: containers have mount namespaces of their own.
func (b *bed) processes() []int {
	var list []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(dir, "/proc/%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		mounts, _ := os.Readlink(dir + "/ns/mnt")
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		if mounts == b.mounts || strings.Contains(string(cgroup), "/"+b.cgroup+"/") {
			list = append(list, pid)
		}
	}
	return list
}
