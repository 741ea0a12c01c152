// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// Node is the daemon of a world that plays a node: `phantom-ns serve`, with
// everything that it keeps in one directory of the test's own. Its pins are in
// a bpffs that goes with the world.
type Node struct {
	// Dir holds policies/, run/ with the sockets, state/, cdi/, shared/ and
	// bpf/. It is the same inside the world and outside.
	Dir string

	w       *World
	process *Process
	flags   []string
}

// StartNode starts a daemon with these policies, by name, and returns when it
// says that it serves. flags are added to those that every test needs.
func (w *World) StartNode(policies map[string]string, flags ...string) *Node {
	w.t.Helper()
	// A socket's path has 107 bytes at most: a test's own directory may be
	// too long for it.
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		w.t.Fatalf("rig: %v", err)
	}
	n := &Node{Dir: dir, w: w, flags: flags}
	w.t.Cleanup(n.remove)
	for _, d := range []string{"policies", "run", "state", "cdi", "shared", "bpf"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			w.t.Fatalf("rig: %v", err)
		}
	}
	w.must("mount bpffs", func() error { return unix.Mount("bpf", n.path("bpf"), "bpf", 0, "mode=0700") })
	for name, text := range policies {
		n.SetPolicy(name, text)
	}
	n.Start()
	return n
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

// remove ends the daemon and takes its directory away.
func (n *Node) remove() {
	if n.process != nil && !n.process.waited {
		n.process.Process.Signal(syscall.SIGTERM)
		n.process.end()
	}
	os.RemoveAll(n.Dir)
}

// SetPolicy writes the policy of that name. A daemon that runs reads it when it
// is asked to.
func (n *Node) SetPolicy(name, text string) {
	n.w.t.Helper()
	if err := os.WriteFile(filepath.Join(n.path("policies"), name+".yaml"), []byte(text), 0o644); err != nil {
		n.w.t.Fatalf("rig: %v", err)
	}
}

// Socket is where the daemon is asked.
func (n *Node) Socket() string { return filepath.Join(n.path("run"), "node.sock") }

// Client returns a client of the daemon, as root.
func (n *Node) Client() *api.Client { return api.Dial(n.Socket()) }

// Start starts the daemon (again) and returns when it serves.
func (n *Node) Start() {
	n.w.t.Helper()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path("notify"), Net: "unixgram"})
	if err != nil {
		n.w.t.Fatalf("rig: %v", err)
	}
	defer os.Remove(n.path("notify"))
	defer notify.Close()
	n.process = n.w.start(Session{Root: true, Dir: "/", Timeout: 10 * time.Minute, Env: []string{"NOTIFY_SOCKET=" + n.path("notify")}},
		Binary(n.w.t), n.Args()...)
	if err := awaitReady(notify, n.process); err != nil {
		n.w.t.Fatalf("rig: start node: %v\n%s", err, n.Stop())
	}
}

// Args is the command line of the daemon.
func (n *Node) Args() []string {
	args := []string{"serve", "--policies", n.path("policies"), "--state", n.path("state"), "--run", n.path("run"),
		"--cdi", n.path("cdi"), "--shared", n.path("shared"), "--pins", n.path("bpf/phantom-ns")}
	return append(args, n.flags...)
}

// Command runs the command line with more flags, to its end.
func (n *Node) Command(flags ...string) Result {
	n.w.t.Helper()
	return n.w.Command(nil, append(n.Args(), flags...)...)
}

// awaitReady reads what the daemon tells its service manager until it serves
// or ends.
func awaitReady(notify *net.UnixConn, p *Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second*Pace())
	defer cancel()
	// A file of the process that becomes readable when it ends.
	ended, err := unix.PidfdOpen(p.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch daemon: %w", err)
	}
	pidfd := os.NewFile(uintptr(ended), "pidfd")
	go func() {
		defer cancel()
		waitReadable(pidfd)
	}()
	defer pidfd.Close()
	stop := context.AfterFunc(ctx, func() { notify.SetReadDeadline(time.Now()) })
	defer stop()
	buffer := make([]byte, 4096)
	for {
		read, err := notify.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("it ended, or did not say that it serves")
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buffer[:read])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// waitReadable returns when a file that can be polled is readable, or closed.
func waitReadable(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	asked := false
	conn.Read(func(uintptr) bool {
		done := asked
		asked = true
		return done
	})
}

// Signal sends one to the daemon.
func (n *Node) Signal(s syscall.Signal) {
	n.w.t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		n.w.t.Fatalf("rig: signal node: %v", err)
	}
}

// PID is the daemon's.
func (n *Node) PID() int { return n.process.Process.Pid }

// Kill ends the daemon without a word and waits until it is gone. What it
// pinned stays.
func (n *Node) Kill() Result {
	n.w.t.Helper()
	n.Signal(syscall.SIGKILL)
	return n.process.Wait()
}

// Stop ends the daemon as its service manager does, and waits.
func (n *Node) Stop() Result {
	n.w.t.Helper()
	n.process.Process.Signal(syscall.SIGTERM) // it may have ended
	return n.process.Wait()
}
