// SPDX-License-Identifier: Apache-2.0

//go:build root

package rig

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWorldIsPrivate(t *testing.T) {
	w := New(t)
	w.Write("/etc/phantom-ns/probe", []byte("x"), 0o600)
	w.Give(Work+"/mine", []byte("y"), 0o644)
	if _, err := os.Stat("/etc/phantom-ns/probe"); err == nil {
		t.Error("a file of the world is on the machine")
	}
	if _, err := os.Stat(Home); err == nil {
		t.Errorf("%s is on the machine", Home)
	}
	if got := string(w.Read("/etc/phantom-ns/probe")); got != "x" {
		t.Errorf("read %q", got)
	}
	if log := w.Read(AuditLog); log != nil {
		t.Errorf("the machine's log is in the world: %d bytes", len(log))
	}
	r := w.start(Session{Root: true}, "/bin/sh", "-c", "id -un 60990; cat mine; grep -c . /proc/net/dev").Wait()
	if r.Exit != 0 || !strings.HasPrefix(r.Stdout, User+"\ny4") {
		t.Errorf("inside: %v", r)
	}
}

func TestTapSeesWhatEscapesAndOnlyThat(t *testing.T) {
	w := New(t)
	l, err := w.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tap := w.Tap(nil)
	w.must("talk", func() error {
		c, err := net.Dial("tcp", l.Addr().String()) // the test's own
		if err != nil {
			return err
		}
		c.Close()
		u, err := net.Dial("udp", "192.0.2.1:53")
		if err != nil {
			return err
		}
		defer u.Close()
		_, err = u.Write([]byte("out"))
		return err
	})
	seen := tap.Stop()
	if len(seen) != 1 || seen[0].Dst.String() != "192.0.2.1:53" || seen[0].Protocol != unix.IPPROTO_UDP {
		t.Errorf("the tap saw %v", seen)
	}
}

func TestTapSeesIPv6(t *testing.T) {
	w := New(t)
	tap := w.Tap(nil)
	w.must("talk", func() error {
		u, err := net.Dial("udp", "[2001:db8:9::1]:443")
		if err != nil {
			return err
		}
		defer u.Close()
		_, err = u.Write([]byte("out"))
		return err
	})
	seen := tap.Stop()
	if len(seen) != 1 || seen[0].Dst.String() != "[2001:db8:9::1]:443" {
		t.Errorf("the tap saw %v", seen)
	}
}

func TestSnapshotNamesAProcessAndItsNamespace(t *testing.T) {
	before := Snapshot(t)
	w := New(t)
	cmd := exec.Command("/bin/sh", "-c", "read line")
	cmd.Args[0] = "phantom-ns: probe"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.must("start probe", cmd.Start)
	left := strings.Join(Snapshot(t).without(before), "\n")
	stdin.Close()
	cmd.Wait()
	if !strings.Contains(left, "phantom-ns: probe") || !strings.Contains(left, "namespace net:") {
		t.Errorf("left over: %s", left)
	}
}
