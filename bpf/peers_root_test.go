// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// peersRig is a rig with the session in it and, where the kernel has them, the programs attached.
func peersRig(t *testing.T, cache string) (*rig, *Peers) {
	t.Helper()
	r := newRig(t, Options{})
	peers, err := LoadPeers(r.object, r.cookie, cache)
	mayLack(t, err)
	if err != nil {
		return r, nil
	}
	t.Cleanup(func() { require(t, peers.Close()) })
	require(t, peers.Attach(r.cgroup))
	r.attach(validSession())
	return r, peers
}

// mayLack admits that the kernel has no such programs: where it is asked for nothing else, that is the whole answer.
func mayLack(t *testing.T, err error) {
	t.Helper()
	version, versionErr := features.LinuxVersionCode()
	require(t, versionErr)
	if err != nil && !errors.Is(err, ErrNotSupported) {
		t.Fatalf("%v: not an answer", err)
	}
	if err == nil && version < 6<<16 {
		t.Fatal("loaded below 6.0")
	}
	fmt.Printf("feature %t LSM programs of unix sockets (6.0)\n", err == nil)
}

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

// P5: the gap of the mounts. A socket of the host's, bound in sight when all programs were attached, pathname or
// abstract, of each type, is reached by nobody in the session; one of the session's is, and the host reaches it.
func TestP5UnixSocketBoundLater(t *testing.T) {
	r, peers := peersRig(t, "")
	dir := t.TempDir()
	listenUnix(t, "unix", filepath.Join(dir, "later"))
	listenUnix(t, "unixpacket", filepath.Join(dir, "packet"))
	listenUnixgram(t, filepath.Join(dir, "datagram"))
	var got []string
	for _, way := range [][]string{
		{"stream", filepath.Join(dir, "later")}, {"packet", filepath.Join(dir, "packet")},
		{"datagram", filepath.Join(dir, "datagram")}, {"connected", filepath.Join(dir, "datagram")},
		{"own", filepath.Join(dir, "inside")}, {"pair"},
	} {
		out, _ := r.act("bpf: unix", way...)
		got = append(got, way[0]+" "+out)
	}
	refused := peers != nil && inForce(t, peers)
	want := []string{"stream ok", "packet ok", "datagram ok", "connected ok", "own ok", "pair ok"}
	if refused {
		want = []string{"stream EACCES", "packet EACCES", "datagram EACCES", "connected EACCES", "own ok", "pair ok"}
	}
	if !slices.Equal(got, want) {
		t.Errorf("programs in force: %t\n%v, want\n%v", refused, got, want)
	}
	if !refused {
		return
	}
	counts, err := r.object.Counts(r.cookie)
	require(t, err)
	if counts[ReasonUnix] != 4 {
		t.Errorf("%d refusals were counted, want 4", counts[ReasonUnix])
	}
	expectPath(t, r, filepath.Join(dir, "later"))
}

// What the policy exposes is reached, by its path or below it, and nothing beside it, nor what has the same inode on another
// file system of the kind.
func TestExposedUnixSockets(t *testing.T) {
	r, peers := peersRig(t, "")
	dir, other := newTmpfs(t), newTmpfs(t)
	var names []string
	for _, on := range []string{dir, other} {
		require(t, os.MkdirAll(filepath.Join(on, "folder", "deep"), 0o755))
		for _, name := range []string{"exposed", "hidden", "folder/deep/below"} {
			listenUnix(t, "unix", filepath.Join(on, name))
			names = append(names, filepath.Join(on, name))
		}
	}
	exposed := []string{filepath.Join(dir, "exposed"), filepath.Join(dir, "folder")}
	for _, path := range exposed {
		this, err := placeOf(path)
		require(t, err)
		that, err := placeOf(strings.Replace(path, dir, other, 1))
		require(t, err)
		if this.Inode != that.Inode || this.Device == that.Device {
			t.Errorf("%s is %+v, and its like on another file system %+v", path, this, that)
		}
	}
	if peers == nil {
		return
	}
	require(t, peers.Expose(append(exposed, filepath.Join(dir, "none"))))
	var got []string
	for _, name := range names {
		out, _ := r.act("bpf: unix", "stream", name)
		got = append(got, out)
	}
	want := []string{"ok", "EACCES", "ok", "EACCES", "EACCES", "EACCES"}
	if inForce(t, peers) && !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// newTmpfs counts its inodes from the beginning, as each does.
func newTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { require(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// R5: a family that no filter of system calls was asked about.
func TestR5FamilyOutsideTheList(t *testing.T) {
	r, peers := peersRig(t, "")
	if peers == nil {
		return
	}
	got, _ := r.act("bpf: unix", "families")
	if want := "vsock EAFNOSUPPORT, alg EAFNOSUPPORT, uevents EAFNOSUPPORT, routes ok"; inForce(t, peers) && got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

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

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	require(t, err)
	return data
}

// inForce asks after a socket was made in the cgroup.
func inForce(t *testing.T, peers *Peers) bool {
	t.Helper()
	in, err := peers.InForce()
	require(t, err)
	fmt.Printf("feature %t LSM programs are called (bpf in lsm=)\n", in)
	return in
}

func expectPath(t *testing.T, r *rig, want string) {
	t.Helper()
	denials, err := r.object.Denials()
	require(t, err)
	defer denials.Close()
	denial, err := denials.Read()
	require(t, err)
	if denial.Reason != ReasonUnix || denial.Path != want || denial.Netns != r.cookie || denial.PID == 0 || denial.Comm == "" {
		t.Errorf("told %+v, want unix of %s", denial, want)
	}
}

func listenUnix(t *testing.T, network, path string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, path)
	require(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func listenUnixgram(t *testing.T, path string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	require(t, err)
	t.Cleanup(func() { c.Close() })
}

// actUnix is what the session does; it prints the errno of the step that decides.
func actUnix() string {
	args := os.Args[1:]
	switch args[0] {
	case "own":
		return actOwn(args[1])
	case "pair":
		return actPair()
	case "families":
		return actFamilies()
	}
	types := map[string]int{"stream": unix.SOCK_STREAM, "packet": unix.SOCK_SEQPACKET, "datagram": unix.SOCK_DGRAM, "connected": unix.SOCK_DGRAM}
	fd, err := unix.Socket(unix.AF_UNIX, types[args[0]], 0)
	if err != nil {
		return errnoName(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrUnix{Name: args[1]}
	if args[0] == "datagram" {
		return errnoName(unix.Sendto(fd, []byte("x"), 0, to))
	}
	return errnoName(unix.Connect(fd, to))
}

func actOwn(path string) string {
	l, err := net.Listen("unix", path)
	if err != nil {
		return errnoName(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		return errnoName(err)
	}
	return errnoName(c.Close())
}

func actPair() string {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return errnoName(err)
	}
	defer unix.Close(fds[1])
	defer unix.Close(fds[0])
	return errnoName(unix.Sendto(fds[0], []byte("x"), 0, nil))
}

func actFamilies() string {
	var out []string
	for _, f := range []struct {
		name             string
		family, protocol int
	}{
		{"vsock", unix.AF_VSOCK, 0}, {"alg", unix.AF_ALG, 0},
		{"uevents", unix.AF_NETLINK, unix.NETLINK_KOBJECT_UEVENT}, {"routes", unix.AF_NETLINK, unix.NETLINK_ROUTE},
	} {
		kind := unix.SOCK_STREAM
		if f.family == unix.AF_NETLINK {
			kind = unix.SOCK_RAW
		}
		fd, err := unix.Socket(f.family, kind, f.protocol)
		if err == nil {
			unix.Close(fd)
		}
		out = append(out, f.name+" "+errnoName(err))
	}
	return strings.Join(out, ", ")
}
