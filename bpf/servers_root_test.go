// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// serverSteps are what the act does, one for each line it reads, and whether the port is listened on after it. Where quiet,
// nothing is to be told.
var serverSteps = []struct {
	name             string
	do               func(*serverAct) error
	listening, quiet bool
}{
	{name: "a server", do: func(a *serverAct) (err error) { a.v4, err = listenOn(unix.AF_INET, 1455); return err }, listening: true},
	{name: "a longer queue", do: func(a *serverAct) error { return unix.Listen(a.v4, 7) }, quiet: true},
	{name: "one of the other family", do: func(a *serverAct) (err error) { a.v6, err = listenOn(unix.AF_INET6, 1455); return err }, listening: true},
	{name: "a connection that ends", do: (*serverAct).converse, quiet: true},
	{name: "a server of another port", do: func(a *serverAct) (err error) { a.other, err = listenOn(unix.AF_INET, 1456); return err }, quiet: true},
	{name: "which goes", do: func(a *serverAct) error { return unix.Close(a.other) }, quiet: true},
	{name: "a port that is bound alone", do: func(a *serverAct) (err error) {
		a.other, err = bindTo(unix.AF_INET, 1455, [4]byte{127, 0, 0, 2})
		return err
	}, quiet: true},
	{name: "the first goes", do: func(a *serverAct) error { return unix.Close(a.v4) }, listening: true},
	{name: "the second shuts down", do: func(a *serverAct) error { return unix.Shutdown(a.v6, unix.SHUT_RD) }},
	{name: "a server once more", do: func(a *serverAct) (err error) { a.v4, err = listenOn(unix.AF_INET, 1455); return err }, listening: true},
}

type serverAct struct{ v4, v6, other int }

func bindTo(family int, port int, v4 [4]byte) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if family == unix.AF_INET6 {
		return fd, unix.Bind(fd, &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}})
	}
	return fd, unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: v4})
}

func listenOn(family int, port int) (int, error) {
	fd, err := bindTo(family, port, [4]byte{127, 0, 0, 1})
	return fd, errors.Join(err, unix.Listen(fd, 3))
}

// converse accepts one connection and closes both ends of it.
func (a *serverAct) converse() error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(client, &unix.SockaddrInet4{Port: 1455, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		return err
	}
	accepted, _, err := unix.Accept(a.v4)
	return errors.Join(err, unix.Close(accepted), unix.Close(client))
}

// actServers does a step for each line, and answers it.
func actServers() string {
	act := &serverAct{}
	lines := bufio.NewReader(os.Stdin)
	for _, step := range serverSteps {
		if _, err := lines.ReadString('\n'); err != nil {
			return err.Error()
		}
		os.Stdout.WriteString(errnoName(step.do(act)) + "\n")
	}
	io.Copy(io.Discard, lines)
	return "" // the last server goes with the process
}

// TestServersAreTold: who comes to a watched port and who goes, by whatever way, and nothing else.
func TestServersAreTold(t *testing.T) {
	r := newRig(t, Options{})
	r.attach(testSession()) // the other program of the same hook asks for the same callbacks
	servers, err := WatchServers(r.cgroup, 1455)
	require(t, err)
	defer func() { require(t, servers.Close()) }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "bpf: servers"
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(r.cgroup.Fd())}
	stdin, err := cmd.StdinPipe()
	require(t, err)
	stdout, err := cmd.StdoutPipe()
	require(t, err)
	r.inside(cmd.Start)
	said := bufio.NewReader(stdout)
	told := func(name string, want bool) {
		t.Helper()
		if port, listening, err := servers.Next(); port != 1455 || listening != want || err != nil {
			t.Errorf("%s: port %d, listening %v, %v; want %v", name, port, listening, err, want)
		}
	}
	for _, step := range serverSteps {
		io.WriteString(stdin, "\n")
		if line, err := said.ReadString('\n'); line != "ok\n" {
			t.Fatalf("%s: %q, %v", step.name, line, err)
		}
		if !step.quiet {
			told(step.name, step.listening)
		}
		if left := servers.changes.AvailableBytes(); left > 0 {
			t.Fatalf("%s: %d bytes more were told", step.name, left)
		}
	}
	stdin.Close()
	require(t, cmd.Wait())
	told("the process ends", false)
}

// TestServersCloseEndsWaiting: whoever waits is let go.
func TestServersCloseEndsWaiting(t *testing.T) {
	servers, err := WatchServers(newCgroup(t), 1455)
	require(t, err)
	ended := make(chan error)
	go func() {
		_, _, err := servers.Next()
		ended <- err
	}()
	require(t, servers.Close())
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
