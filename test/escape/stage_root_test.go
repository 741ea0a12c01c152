// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// The names that the policy allows.
const (
	name  = "api.escape.test"
	other = "other.escape.test"
)

// hosts is what the host resolves. The names below escape.test are allowed, their
// addresses are not (R13, N7).
const hosts = `203.0.113.2 host-of-the-machine own.escape.test
169.254.169.254 meta.escape.test
fd00:ec2::254 meta6.escape.test
127.0.0.1 loop.escape.test
10.0.0.1 lan.escape.test
64:ff9b::a9fe:a9fe nat64.escape.test
`

// program is the hostile agent's place inside the world.
const program = rig.Home + "/attempt"

// stage is a world in which everything is in place that an agent could want to
// reach: servers of the host, its sockets, files and programs.
type stage struct {
	*testing.T
	world    *rig.World
	upstream *rig.Upstream
	bell     *bell
	facts    map[string]string
}

// newStage needs an already built program.
func newStage(t *testing.T, built []byte) *stage {
	t.Helper()
	s := &stage{T: t, world: rig.New(t), bell: &bell{make(chan string, 1024)}, facts: map[string]string{"name": name}}
	if pace := os.Getenv("ESCAPE_PACE"); pace != "" {
		s.facts["pace"] = pace
	}
	s.upstream = rig.NewUpstream(t, s.world.Listen)
	s.upstream.Serve(name, s.upstream.Echo(""))
	s.upstream.Serve(other, s.upstream.Echo(""))
	s.world.Give(program, built, 0o755)
	s.serve()
	s.prepareFiles(built)
	s.prepareMemory()
	s.facts["pid"] = fmt.Sprint(os.Getpid())
	return s
}

// policy allows two names, and any other below theirs; what else it says is
// added.
func (s *stage) policy(more string) string {
	return "version: 1\negress:\n  - host: \"*.escape.test\"\n" + s.upstream.Hosts() + more
}

// know is what the agent is told.
func (s *stage) know() string {
	var fields []string
	for key, value := range s.facts {
		fields = append(fields, key+"="+value)
	}
	return strings.Join(fields, " ")
}

// serve opens the host's servers.
func (s *stage) serve() {
	for key, address := range map[string]string{
		"loopback": "127.0.0.1:0", "address": rig.Addr4.Addr().String() + ":0", "address6": "[" + rig.Addr6.Addr().String() + "]:0",
	} {
		l, err := s.world.Listen("tcp", address)
		s.must(err)
		s.facts[key] = l.Addr().String()
		s.bell.accept(s, key, l)
	}
	for key, address := range map[string]string{"udp": "127.0.0.1:0", "udp_address": rig.Addr4.Addr().String() + ":0"} {
		s.facts[key] = s.receive(key, "udp", address).String()
	}
	tmp, run := s.scratch("/tmp"), s.scratch("/run")
	for key, path := range map[string]string{
		"unix_tmp": tmp + "/stream", "unix_run": run + "/stream", "unix_shm": s.scratch("/dev/shm") + "/stream",
		"unix_work": rig.Work + "/stream", "unix_below": rig.Work + "/below/stream", "unix_home": rig.Home + "/stream", "unix_lib": "/var/lib/escape/stream",
		"unix_abstract": "@escape-stream",
	} {
		s.facts[key] = path
		s.listenUnix(key, path)
	}
	for key, path := range map[string]string{
		"unixd_tmp": tmp + "/datagram", "unixd_work": rig.Work + "/datagram", "unixd_home": rig.Home + "/datagram",
		"unixd_lib": "/var/lib/escape/datagram", "unixd_abs": "@escape-datagram",
	} {
		s.facts[key] = path
		s.receive(key, "unixgram", path)
		s.open(path)
	}
	s.facts["run_file"], s.facts["tmp_file"] = run+"/file", tmp+"/file"
	for _, key := range []string{"run_file", "tmp_file"} {
		s.must(os.WriteFile(s.facts[key], []byte("host"), 0o644))
	}
}

// scratch makes a folder of the machine's that everyone may use.
func (s *stage) scratch(parent string) string {
	dir, err := os.MkdirTemp(parent, "escape-")
	s.must(err)
	s.Cleanup(func() { os.RemoveAll(dir) })
	s.must(os.Chmod(dir, 0o777))
	return dir
}

func (s *stage) listenUnix(key, path string) {
	var l net.Listener
	s.must(s.world.Do(func() error {
		if !strings.HasPrefix(path, "@") {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		var err error
		l, err = net.Listen("unix", path)
		return err
	}))
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if key == "unix_below" {
		s.must(s.world.Do(func() error { return os.Chown(filepath.Dir(path), rig.UID, rig.GID) }))
	}
	s.open(path)
	s.bell.accept(s, key, l)
}

func (s *stage) receive(key, network, address string) net.Addr {
	var conn net.PacketConn
	s.must(s.world.Do(func() error {
		var err error
		conn, err = net.ListenPacket(network, address)
		return err
	}))
	s.bell.read(s, key, conn)
	return conn.LocalAddr()
}

// open lets everybody use a socket's file.
func (s *stage) open(path string) {
	if !strings.HasPrefix(path, "@") {
		s.must(s.world.Do(func() error { return os.Chmod(path, 0o777) }))
	}
}

// prepareFiles puts root's programs and secrets into the world.
func (s *stage) prepareFiles(built []byte) {
	s.facts["suid"], s.facts["filecaps"] = "/var/lib/escape/suid", "/var/lib/escape/filecaps"
	s.world.Write(s.facts["suid"], built, os.ModeSetuid|os.ModeSetgid|0o755)
	s.world.Write(s.facts["filecaps"], built, 0o755)
	// VFS_CAP_REVISION_2, effective; CAP_NET_ADMIN and CAP_NET_RAW permitted.
	caps := []byte{1, 0, 0, 2, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	s.must(s.world.Do(func() error { return unix.Setxattr(s.facts["filecaps"], "security.capability", caps, 0) }))
	s.world.Write("/etc/hosts", []byte(hosts), 0o644)
	s.world.Secret("demo", rig.Canary(s, "sk-"))
	s.world.Write("/var/lib/phantom-ns/store.age", []byte("store"), 0o600)
}

// prepareMemory makes shared memory and a queue of the host's.
func (s *stage) prepareMemory() {
	key := os.Getpid()
	segment, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o666)
	s.must(err)
	queue, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(key), unix.IPC_CREAT|0o666, 0)
	s.Cleanup(func() {
		unix.SysvShmCtl(segment, unix.IPC_RMID, nil)
		unix.Syscall(unix.SYS_MSGCTL, queue, unix.IPC_RMID, 0)
	})
	if errno != 0 {
		s.Fatal(errno)
	}
	s.facts["shm"] = fmt.Sprint(key)
}

// as runs the agent's program as the user, but in the world instead of in a
// session, and returns what it prints.
func (s *stage) as(way string) string {
	dir := s.scratch("/tmp")
	link := filepath.Join(dir, way)
	cmd := exec.Command(link, "one", way)
	cmd.Env = []string{"ESCAPE_FACTS=" + s.know()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: rig.UID, Gid: rig.GID}}
	var out strings.Builder
	cmd.Stdout = &out
	s.must(s.world.Do(func() error {
		if err := os.Symlink(program, link); err != nil {
			return err
		}
		return cmd.Start()
	}))
	if err := cmd.Wait(); err != nil {
		s.Fatalf("%s: %v: %s", way, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// attempt returns the agent's program.
func attempt(t *testing.T) []byte {
	t.Helper()
	built, err := buildAttempt()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

var buildAttempt = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "attempt-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "attempt")
	if err := rig.GoBuild(path, "./test/escape/attempt"); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})
