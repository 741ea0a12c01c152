// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const helpersGolden = "testdata/helpers.golden"

// TestPostureOfHelpers compares what the kernel says of our short-lived
// processes, at their work, with a file. One that runs another program keeps the
// rights of its user (P1, P2, P13).
func TestPostureOfHelpers(t *testing.T) {
	world := rig.New(t)
	got := postureWhileFetching(t, world) + postureWhileAsking(t, world)
	if *update {
		if err := os.WriteFile(helpersGolden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(helpersGolden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("posture (-want +got):\n%s", diff)
	}
}

// postureWhileFetching holds a session at its start: the program that is asked
// for a credential does not answer. The mask helper has looked by then.
func postureWhileFetching(t *testing.T, world *rig.World) string {
	t.Helper()
	looked, asked := newFIFO(t, world, rig.Home+"/.netrc"), newFIFO(t, world, "/etc/phantom-ns/answer")
	world.Write("/etc/phantom-ns/ask", []byte("#!/bin/sh\ncat /etc/phantom-ns/answer\n"), 0o755)
	p := world.Start(rig.Session{
		Policy: "version: 1\ncredentials:\n  slow:\n    from: exec:/etc/phantom-ns/ask\n    hosts: [api.escape.test]\n",
		Args:   []string{"true"},
	})
	waitUnread(t, <-looked)
	answer := <-asked
	text := ""
	for _, stage := range []string{"phantom-ns: mask", "phantom-ns: secret"} {
		text += section(t, stage+", as the user", p.Process.Pid, rig.Child(t, p.Process.Pid, stage))
	}
	answer.Close() // an empty credential
	if r := p.Wait(); r.Exit != 125 {
		t.Errorf("got %v", r)
	}
	return text
}

// postureWhileAsking holds a session at the question for a passphrase.
func postureWhileAsking(t *testing.T, world *rig.World) string {
	t.Helper()
	if r := world.Command(strings.NewReader(rig.Canary(t, "")), "secret", "set", "stored", "--host", "api.escape.test"); r.Exit != 0 {
		t.Fatalf("store: %v", r)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "a passphrase")
	w.Close()
	if r := world.CommandWith([]*os.File{r}, nil, "secret", "passphrase", "--new-passphrase-fd", "3"); r.Exit != 0 {
		t.Fatalf("set passphrase: %v", r)
	}
	r.Close()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	defer near.Close()
	p := world.Start(rig.Session{With: []string{"stored"}, Args: []string{"true"}, Files: []*os.File{near}, Flags: []string{"--passphrase-fd", "3"}})
	if prompt, err := bufio.NewReader(far).ReadString(':'); err != nil {
		t.Fatalf("asked %q: %v", prompt, err)
	}
	text := section(t, "phantom-ns: secret, root's, with the store", p.Process.Pid, rig.Child(t, p.Process.Pid, "phantom-ns: secret"))
	fmt.Fprint(far, "\x03")
	if r := p.Wait(); r.Exit != 125 {
		t.Errorf("got %v", r)
	}
	return text
}

// keyMemory is what the memory of an unlocked key is called, with memfd_secret and
// without.
var keyMemory = strings.NewReplacer("/secretmem (deleted)", "of the key's memory", "/memfd:phantom-ns-key (deleted)", "of the key's memory")

// section is a posture under its own heading, without where a terminal is.
func section(t *testing.T, heading string, supervisor, pid int) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(posture(t, supervisor, pid)) {
		if !strings.HasPrefix(line, "descriptors /dev/pts/") {
			lines = append(lines, "\t"+keyMemory.Replace(line))
		}
	}
	return heading + "\n" + strings.Join(lines, "")
}

// waitUnread returns when nobody has the other end of a FIFO any more.
func waitUnread(t *testing.T, f *os.File) {
	t.Helper()
	defer f.Close()
	ends := []unix.PollFd{{Fd: int32(f.Fd())}}
	for ends[0].Revents&unix.POLLERR == 0 {
		if _, err := unix.Poll(ends, -1); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// newFIFO makes a FIFO of the user's in the world, and hands out its writing end
// when somebody has opened the other.
func newFIFO(t *testing.T, world *rig.World, path string) <-chan *os.File {
	t.Helper()
	world.Give(path, nil, 0o600)
	fd := -1
	err := world.Do(func() (err error) {
		if err = unix.Unlink(path); err == nil {
			err = unix.Mkfifo(path, 0o600)
		}
		if err == nil {
			err = unix.Lchown(path, rig.UID, rig.GID)
		}
		if err == nil {
			fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan *os.File, 1)
	go func() {
		defer unix.Close(fd)
		f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}()
	return opened
}
