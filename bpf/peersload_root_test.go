// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Who is short of descriptors is not told that the kernel has no such programs.
func TestAShortageIsNoLack(t *testing.T) {
	r, peers := peersRig(t, "")
	if peers == nil {
		return // mayLack has said so
	}
	var limit unix.Rlimit
	require(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	require(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}))
	_, loading := LoadPeers(r.object, r.cookie, "")
	attaching := peers.Attach(r.cgroup)
	require(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	for what, err := range map[string]error{"load": loading, "attach": attaching} {
		if !errors.Is(err, unix.EMFILE) || errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is known of a kernel is asked once, and for the kernel and the programs it is about.
func TestFieldsAreKept(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "kernel.json")
	first, firstErr := fieldsOf(cache)
	require(t, os.WriteFile(cache+".copy", mustRead(t, cache), 0o600))
	again, againErr := fieldsOf(cache)
	if first.Build != again.Build || len(first.Programs) != len(again.Programs) || fmt.Sprint(firstErr) != fmt.Sprint(againErr) {
		t.Errorf("%v, %v and then %v, %v", first, firstErr, again, againErr)
	}
	// Where they cannot be kept they are known all the same.
	unkept, err := fieldsOf("/proc/kernel.json")
	if len(first.Programs) != len(unkept.Programs) || fmt.Sprint(firstErr) != fmt.Sprint(err) {
		t.Errorf("%v, %v and unkept %v, %v", first, firstErr, unkept, err)
	}
	for _, other := range []string{"", "{", strings.Replace(string(mustRead(t, cache)), first.Build, "another", 1)} {
		require(t, os.WriteFile(cache, []byte(other), 0o600))
		if known := readFields(cache, first.Build); known != nil {
			t.Errorf("%.20q is taken for %v", other, known)
		}
	}
}

// A signal to the thread, as of a helper that ended, stops the verifier, which says EAGAIN: the session would begin without
// the programs. This one takes the verifier longer than the signals take.
func TestSignalsDoNotKeepPeersAway(t *testing.T) {
	if _, peers := peersRig(t, ""); peers == nil {
		return
	}
	kernel, err := fieldsOf("")
	require(t, err)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	go func() {
		for range 1000 {
			// SIGURG: Go's own, which it takes at any time.
			_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
		}
	}()
	again := asm.JLT.Imm(asm.R1, 200_000, "")
	again.Offset = -2
	p, err := kernel.load(&ebpf.ProgramSpec{
		Name: lsmProgUnixStreamConnect, ByteOrder: binary.LittleEndian,
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, 0), asm.Add.Imm(asm.R1, 1), again, asm.Mov.Imm(asm.R0, 1), asm.Return(),
		},
	}, nil)
	require(t, err)
	require(t, p.Close())
}
