// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// manager listens as systemd does and returns what getenv says of it.
func manager(t *testing.T) (*net.UnixConn, func(string) string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, func(name string) string { return map[string]string{"NOTIFY_SOCKET": path}[name] }
}

func receive(t *testing.T, conn *net.UnixConn) (string, []int) {
	t.Helper()
	data, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, rights...)
	}
	return string(data[:n]), fds
}

func TestTheManagerIsTold(t *testing.T) {
	conn, getenv := manager(t)
	m, err := Connect(getenv)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for want, tell := range map[string]func() error{
		"READY=1\nSTATUS=two lines MAINPID=1": func() error { return m.Ready("two lines\nMAINPID=1") },
		"STOPPING=1":                          m.Stopping,
		"FDSTOREREMOVE=1\nFDNAME=a":           func() error { return m.Forget("a") },
	} {
		if err := tell(); err != nil {
			t.Fatal(err)
		}
		if got, _ := receive(t, conn); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if err := m.Reloading(); err != nil {
		t.Fatal(err)
	}
	var usec int64
	if got, _ := receive(t, conn); true {
		if _, err := fmt.Sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec <= 0 {
			t.Errorf("told %q", got)
		}
	}
}

func TestDescriptorsAreStored(t *testing.T) {
	conn, getenv := manager(t)
	m, err := Connect(getenv)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(m.Store("x", w), w.Close()); err != nil {
		t.Fatal(err)
	}
	text, fds := receive(t, conn)
	if text != "FDSTORE=1\nFDNAME=x\nFDPOLL=0" || len(fds) != 1 {
		t.Fatalf("told %q with %d descriptors", text, len(fds))
	}
	kept := os.NewFile(uintptr(fds[0]), "kept")
	if _, err := kept.WriteString("it is ours"); err != nil {
		t.Fatal(err)
	}
	kept.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "it is ours" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := m.Store("x", make([]*os.File, maxFiles+1)...); err == nil {
		t.Error("more than a message can carry were sent")
	}
}

func TestWithoutAManagerNothingIsDone(t *testing.T) {
	none := func(string) string { return "" }
	m, err := Connect(none)
	if m != nil || err != nil {
		t.Fatal(m, err)
	}
	if err := errors.Join(m.Ready(""), m.Stopping(), m.Reloading(), m.Store("x", os.Stdin), m.Forget("x"), m.Close()); err != nil {
		t.Error(err)
	}
	if files, err := Inherited(none); files != nil || err != nil {
		t.Error(files, err)
	}
	for _, path := range []string{"vsock:2:9999", "relative", filepath.Join(t.TempDir(), "gone")} {
		if m, err := Connect(func(string) string { return path }); err == nil {
			t.Errorf("%q: connected to %v", path, m)
		}
	}
}

// TestMain is the other side of the next test as well: a process that inherits.
func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	os.Setenv("LISTEN_PID", strings.Replace(os.Getenv("LISTEN_PID"), "self", fmt.Sprint(os.Getpid()), 1))
	files, err := Inherited(os.Getenv)
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range files {
		text, _ := io.ReadAll(f)
		flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		fmt.Println(f.Name, string(text), flags&unix.FD_CLOEXEC != 0)
	}
}

func TestInheritedDescriptorsHaveTheirNames(t *testing.T) {
	for want, env := range map[string][]string{
		"node first true\nunknown second true\n": {"LISTEN_PID=self", "LISTEN_FDS=2", "LISTEN_FDNAMES=node:"},
		"node first true\nx second true\n":       {"LISTEN_PID=self", "LISTEN_FDS=2", "LISTEN_FDNAMES=node:x:y"},
		"":                                       {"LISTEN_PID=1", "LISTEN_FDS=2"},
		"take inherited descriptors: LISTEN_FDS is \"-1\"\n": {"LISTEN_PID=self", "LISTEN_FDS=-1"},
		"take inherited descriptors: LISTEN_FDS is \"x\"\n":  {"LISTEN_PID=self", "LISTEN_FDS=x"},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(env, "SYSTEMD_TEST_CHILD=1")
		for _, text := range []string{"first", "second"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, text)
			w.Close()
			defer r.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, r)
		}
		if got, err := cmd.Output(); err != nil || string(got) != want {
			t.Errorf("%v: got %q, %v, want %q", env, got, err, want)
		}
	}
}
