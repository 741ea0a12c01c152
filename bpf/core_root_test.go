// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// P13: a core_pattern that is a socket asks for no limit of core files: the kernel itself connects, and writes what the
// memory of who crashed was. Where the programs are called it is refused like a call of the session's.
func TestP13CoreSocket(t *testing.T) {
	r, peers := peersRig(t, "")
	path := filepath.Join(t.TempDir(), "core")
	l := listenUnix(t, "unix", path)
	taken := setCorePattern(t, "@"+path)
	reached := make(chan bool)
	go func() {
		visits := 0
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			peer, err := peerOf(conn)
			conn.Close() // who dumps waits for a reader
			if err == nil && peer == os.Getpid() {
				break
			}
			visits++
		}
		reached <- visits > 0
	}()
	if out, _ := r.act("bpf: crash"); out != "signal: segmentation fault" && out != "signal: segmentation fault (core dumped)" {
		t.Errorf("crashed with %q", out)
	}
	last, err := net.Dial("unix", path) // behind the kernel's
	require(t, err)
	last.Close()
	refused := peers != nil && inForce(t, peers)
	if got, want := <-reached, taken && !refused; got != want {
		t.Errorf("programs in force: %t; a crash reached the host: %t, want %t", refused, got, want)
	}
	if taken && refused {
		expectPath(t, r, path)
	}
}

// setCorePattern tells whether the kernel takes it for a socket (Linux 6.16), which it takes from its first mount namespace
// alone.
func setCorePattern(t *testing.T, pattern string) bool {
	t.Helper()
	const name = "/proc/sys/kernel/core_pattern"
	version, err := features.LinuxVersionCode()
	require(t, err)
	before := mustRead(t, name)
	t.Cleanup(func() { require(t, os.WriteFile(name, before, 0)) })
	err = os.WriteFile(name, []byte(pattern), 0)
	return err == nil && version >= 6<<16|16<<8
}

func peerOf(conn net.Conn) (pid int, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid, errors.Join(controlErr, err)
}

// actCrash has the limit that an agent has.
func actCrash() string {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		return errnoName(err)
	}
	return exec.Command("sh", "-c", "kill -SEGV $$").Run().Error()
}
