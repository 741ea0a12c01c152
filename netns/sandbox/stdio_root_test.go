// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func openFile(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, flags, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// What is harmless reaches the agent as it is.
func TestStdioGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("content\n"), 0o644))
	for name, c := range map[string]struct {
		in   *os.File
		want string
	}{
		"file":    {openFile(t, file, os.O_RDONLY), "fifo\ncontent\n"},
		"null":    {openFile(t, os.DevNull, os.O_RDWR), "character special file\n"},
		"nothing": {nil, "character special file\n"},
		"zero":    {openFile(t, "/dev/zero", os.O_RDONLY), "fifo\n\x00\x00\x00"},
		"random":  {openFile(t, "/dev/urandom", os.O_RDONLY), "fifo\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.config.Stdin = c.in
			script := "stat -L -c %F /dev/stdin; head -c 8"
			switch name {
			case "zero":
				script = "stat -L -c %F /dev/stdin; head -c 3"
			case "random":
				script = "stat -L -c %F /dev/stdin"
			}
			r.script(c.want, script)
		})
	}
}

// Output and errors to one file keep their order, and cannot be reopened.
func TestStdioToOneFile(t *testing.T) {
	r := newRig(t)
	name := filepath.Join(t.TempDir(), "file")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	must(t, err)
	defer file.Close()
	again, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer again.Close()
	r.config.Stdout, r.config.Stderr = file, again
	must(t, r.start("sh", "-c", "for i in 1 2 3; do echo out; echo err >&2; done; stat -L -c %F /dev/stderr"))
	_, err = r.child.Wait()
	must(t, err)
	text, err := os.ReadFile(name)
	if string(text) != "out\nerr\nout\nerr\nout\nerr\nfifo\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// A socket would lead out: the agent has a pipe instead, both ways.
func TestStdioSocketIsRelayed(t *testing.T) {
	r := newRig(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	theirs, ours := os.NewFile(uintptr(pair[0]), "theirs"), os.NewFile(uintptr(pair[1]), "ours")
	defer ours.Close()
	r.config.Stdin, r.config.Stdout = theirs, theirs
	must(t, r.start("sh", "-c", "stat -L -c %F /dev/stdin /dev/stdout; cat"))
	_, err = ours.Write([]byte("hello\n"))
	must(t, err)
	must(t, unix.Shutdown(pair[1], unix.SHUT_WR))
	_, err = r.child.Wait()
	must(t, err)
	must(t, theirs.Close())
	text, err := io.ReadAll(ours)
	if string(text) != "fifo\nfifo\nhello\n" {
		t.Errorf("read %q, %v", text, err)
	}
}

// A pipe's end that Go made non-blocking blocks for the agent.
func TestStdioBlocks(t *testing.T) {
	r := newRig(t)
	in, out, err := os.Pipe()
	must(t, err)
	defer out.Close()
	r.config.Stdin = in
	must(t, r.start("sh", "-c", "read line; echo $line"))
	must(t, in.Close())
	_, err = out.Write([]byte("line\n"))
	must(t, err)
	_, err = r.child.Wait()
	must(t, err)
	if text := r.output.end(); text != "line\n" {
		t.Errorf("wrote %q", text)
	}
}

// When the agent closes its output, the reader notices, though init lives.
func TestStdioClosedByAgent(t *testing.T) {
	r := newRig(t)
	out, in, err := os.Pipe()
	must(t, err)
	defer out.Close()
	r.config.Stdout = in
	must(t, r.start("sh", "-c", "echo done; exec 1>&-; sleep 1000"))
	must(t, in.Close())
	text, err := io.ReadAll(out)
	if string(text) != "done\n" {
		t.Errorf("read %q, %v", text, err)
	}
}
