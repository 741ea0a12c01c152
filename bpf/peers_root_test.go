// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
