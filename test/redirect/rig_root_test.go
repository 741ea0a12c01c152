// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns"
	"golang.org/x/sys/unix"
)

// port is privileged, as the product's is: the agent can never bind it.
const port = 981

// stages are what this binary does when it is started again, chosen by argv[0].
var stages = map[string]func() error{
	"redirect: listen": listenStage,
	"redirect: refuse": refuseStage,
}

func TestMain(m *testing.M) {
	if stage, ok := stages[os.Args[0]]; ok {
		if err := stage(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	os.RemoveAll(clientDir)
	os.Exit(code)
}

// clientDir is where the client is built, once it is.
var clientDir string

// world is one session's kernel half: namespace, cgroup, listeners born inside both, programs attached.
type world struct {
	t         testing.TB
	ns        *netns.Namespace
	cgroup    *os.File
	cookie    uint64
	object    *bpf.Object
	listeners [2]int // IPv4, IPv6
}

func newWorld(t testing.TB, declared ...string) *world {
	t.Helper()
	w := &world{t: t}
	w.ns = must(netns.New())(t)
	t.Cleanup(func() { w.ns.Close() })
	w.cookie = must(w.ns.Cookie())(t)
	w.cgroup = newCgroup(t)
	w.object = must(bpf.Load(bpf.Options{}))(t)
	t.Cleanup(func() { check(t, w.object.Close()) })
	session := bpf.Session{
		Port:      port,
		Listener4: netip.MustParseAddr("127.0.0.1"), Listener6: netip.IPv6Loopback(),
		Own4: netns.OwnAddr4, Own6: netns.OwnAddr6,
	}
	for _, prefix := range declared {
		session.Declared = append(session.Declared, netip.MustParsePrefix(prefix))
	}
	check(t, w.object.AddSession(w.cookie, session))
	check(t, w.object.Attach(w.cgroup))
	w.listen()
	return w
}

// newCgroup makes a cgroup v2 leaf, wherever v2 is mounted.
func newCgroup(t testing.TB) *os.File {
	t.Helper()
	dir := must(os.MkdirTemp(cgroupMount(t), "phantom-redirect-"))(t)
	file := must(os.Open(dir))(t)
	t.Cleanup(func() {
		file.Close()
		check(t, os.Remove(dir))
	})
	return file
}

func cgroupMount(t testing.TB) string {
	t.Helper()
	file := must(os.Open("/proc/self/mountinfo"))(t)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	t.Fatal("no cgroup v2 mount")
	return ""
}

// command prepares a process to be born in the cgroup; start it with w.start.
func (w *world) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(w.cgroup.Fd())}
	return cmd
}

// stage prepares this binary, in one of its stages.
func (w *world) stage(name string, args ...string) *exec.Cmd {
	cmd := w.command("/proc/self/exe", args...)
	cmd.Args[0] = name
	return cmd
}

// start starts a process in the namespace too, which a child inherits from the thread that forks it.
func (w *world) start(cmd *exec.Cmd) {
	w.t.Helper()
	check(w.t, w.ns.Do(cmd.Start))
}

// output runs a process of the session and returns what it printed.
func (w *world) output(cmd *exec.Cmd) string {
	w.t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	w.start(cmd)
	check(w.t, cmd.Wait())
	return out.String()
}

// listen has the listeners opened by a process of the session, so that one attachment sees both ends.
func (w *world) listen() {
	w.t.Helper()
	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(w.t)
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "listeners")
	cmd := w.stage("redirect: listen")
	cmd.ExtraFiles = []*os.File{theirs}
	w.start(cmd)
	check(w.t, theirs.Close())
	control := make([]byte, unix.CmsgSpace(2*4))
	_, n, _, _, err := unix.Recvmsg(pair[0], nil, control, unix.MSG_CMSG_CLOEXEC)
	check(w.t, err)
	check(w.t, cmd.Wait())
	messages := must(unix.ParseSocketControlMessage(control[:n]))(w.t)
	fds := must(unix.ParseUnixRights(&messages[0]))(w.t)
	w.listeners = [2]int(fds)
	w.t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
}

func listenStage() error {
	var fds []int
	for _, address := range []unix.Sockaddr{
		&unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}},
	} {
		fd, err := listenOn(address)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	return unix.Sendmsg(3, nil, unix.UnixRights(fds...), nil, 0)
}

func listenOn(address unix.Sockaddr) (int, error) {
	family := unix.AF_INET
	if _, ok := address.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, address); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, 4096)
}

// client is the C program, built once for all tests.
var client = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "phantom-redirect-")
	if err != nil {
		return "", err
	}
	clientDir = dir
	binary := filepath.Join(dir, "client")
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", binary, "client.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build client: %w\n%s", err, out)
	}
	return binary, nil
})

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
