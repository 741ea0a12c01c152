// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestTheWaysLeadOutWithoutASession shows that the ways would succeed, were
// the agent not in a session: every server of the host is there, and the tap
// sees what leaves.
func TestTheWaysLeadOutWithoutASession(t *testing.T) {
	s := newStage(t, attempt(t))
	tap := s.world.Tap(nil)
	for way, want := range map[string]string{
		"host_loopback": "connect=ok,closed", "host_address": "connect=ok,closed", "host_address6": "connect=ok,closed",
		"udp_host": "sendto=ok", "udp_address": "sendto=ok",
		"unix_tmp": "connect=ok,recvmsg=ok,descriptor", "unix_run": "connect=ok,recvmsg=ok,descriptor",
		"unix_shm": "connect=ok,recvmsg=ok,descriptor", "unix_work": "connect=ok,recvmsg=ok,descriptor",
		"unix_home": "connect=ok,recvmsg=ok,descriptor", "unix_lib": "connect=ok,recvmsg=ok,descriptor",
		"unix_abstract": "connect=ok,recvmsg=ok,descriptor",
		"unixd_tmp":     "sendto=ok", "unixd_work": "sendto=ok", "unixd_home": "sendto=ok", "unixd_lib": "sendto=ok", "unixd_abs": "sendto=ok",
		"tcp4": "connect=ETIMEDOUT", "tcp6": "connect=ETIMEDOUT", "udp_sendto": "sendto=ok", "udp_quic6": "sendto=ok",
		"shm_sysv": "ok", "msg_sysv": "ok", "read_host_run": "read", "read_host_tmp": "read",
	} {
		if got := s.as(way); got != want {
			t.Errorf("%s: %s, want %s", way, got, want)
		}
	}
	if got := s.as("suid"); !strings.Contains(got, ",euid=0,") {
		t.Errorf("suid: %s", got)
	}
	if got := s.as("filecaps"); !strings.Contains(got, "Eff=3000") {
		t.Errorf("filecaps: %s", got)
	}
	want := []string{"192.0.2.7:443", "192.0.2.7:4433", "[2001:db8:2::7]:443"}
	for _, packet := range tap.Stop() {
		want = slices.DeleteFunc(want, func(to string) bool { return to == packet.Dst.String() })
	}
	if len(want) > 0 {
		t.Errorf("the tap saw nothing to %v", want)
	}
	s.bell.wait(t, 14)
}

// TestR1WithoutAProxyVariable lets an ordinary client do as it likes.
func TestR1WithoutAProxyVariable(t *testing.T) {
	s := newStage(t, attempt(t))
	tap := s.world.Tap(nil)
	const script = `
curl -sS --noproxy '*' -o /dev/null -w 'name %{http_code}\n' https://api.escape.test/
curl -sS --noproxy '*' --connect-timeout 1 -o /dev/null https://192.0.2.7/; echo "address $?"
curl -sS --noproxy '*' --connect-timeout 1 -o /dev/null -k https://[2001:db8:2::7]/; echo "address6 $?"
curl -sS --noproxy '*' --connect-timeout 1 -o /dev/null --resolve api.escape.test:443:192.0.2.7 https://api.escape.test/; echo "resolved $?"
curl -sS --noproxy '*' --connect-timeout 1 -o /dev/null https://evil.test/; echo "name $?"
curl -sS --proxy http://192.0.2.7:3128 --connect-timeout 1 -o /dev/null https://api.escape.test/; echo "proxy $?"
env | grep -ci _proxy=
`
	r := s.world.Run(rig.Session{Policy: s.policy(""), Args: []string{"/bin/sh", "-c", script}})
	// 6: no such name; 7: no connection (curl(1)).
	const want = "name 200\naddress 7\naddress6 7\nresolved 7\nname 6\nproxy 7\n0\n"
	if r.Stdout != want {
		t.Errorf("got %v", r)
	}
	s.nothingEscaped(tap)
	if n := len(s.upstream.Exchanges(name)); n != 1 {
		t.Errorf("%d requests upstream, want 1", n)
	}
}

// TestR8DescriptorsAreNotInherited starts a session from a process with a
// directory and sockets of the host's network open, one of them in the place of
// standard input.
func TestR8DescriptorsAreNotInherited(t *testing.T) {
	s := newStage(t, attempt(t))
	near, far := s.connection()
	defer far.Close()
	root, err := os.Open("/")
	s.must(err)
	defer root.Close()
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	loose := os.NewFile(uintptr(udp), "udp")
	defer loose.Close()
	s.world.Write("/etc/phantom-ns/session.yaml", []byte(s.policy("")), 0o644)
	const script = `read -r line; echo "$line"; "$0" all - proc_fd; exit 0`
	var out strings.Builder
	cmd := exec.Command(rig.Binary(t), "run", "--policy", "/etc/phantom-ns/session.yaml", "--user", rig.User, "--", "/bin/sh", "-c", script, program)
	cmd.Dir, cmd.Env = rig.Work, []string{"PATH=/usr/bin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = near, &out, &out
	cmd.ExtraFiles = []*os.File{loose, near, root} // 3, 4 and 5
	s.must(s.world.Do(cmd.Start))
	near.Close()
	_, err = far.Write([]byte("through a pipe\n"))
	s.must(err)
	if err := cmd.Wait(); err != nil {
		t.Errorf("run: %v", err)
	}
	if got := out.String(); got != "through a pipe\nproc_fd 0=pipe,1=pipe,2=pipe\n" {
		t.Errorf("got %q", got)
	}
}

// connection is a TCP connection of the world's, one end as a file.
func (s *stage) connection() (*os.File, net.Conn) {
	s.Helper()
	l, err := s.world.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	defer l.Close()
	var near net.Conn
	s.must(s.world.Do(func() error {
		near, err = net.Dial("tcp", l.Addr().String())
		return err
	}))
	defer near.Close()
	file, err := near.(*net.TCPConn).File()
	s.must(err)
	far, err := l.Accept()
	s.must(err)
	return file, far
}

// TestP10DirectoryAsInputIsRefused gives what would be a path around every
// mount.
func TestP10DirectoryAsInputIsRefused(t *testing.T) {
	w := rig.New(t)
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if r := w.Run(rig.Session{Stdin: root, Args: []string{"echo", "started"}}); r.Exit != 125 || strings.Contains(r.Stdout, "started") {
		t.Errorf("got %v", r)
	}
}

// TestP10FileAsInputIsRelayed gives a file of the user's for reading: opened
// again by its descriptor, it could be written past every read-only mount.
func TestP10FileAsInputIsRelayed(t *testing.T) {
	s := newStage(t, attempt(t))
	path := rig.Home + "/.profile"
	s.world.Give(path, []byte("the user's\n"), 0o644)
	var file *os.File
	s.must(s.world.Do(func() (err error) {
		file, err = os.Open(path)
		return err
	}))
	defer file.Close()
	const script = `echo escape > /proc/self/fd/0; cat; "$0" all - proc_fd; exit 0`
	r := s.world.Run(rig.Session{Stdin: file, Args: []string{"/bin/sh", "-c", script, program}})
	if r.Stdout != "the user's\nproc_fd 0=pipe,1=pipe,2=pipe\n" {
		t.Errorf("got %v", r)
	}
	if got := string(s.world.Read(path)); got != "the user's\n" {
		t.Errorf("the file now holds %q", got)
	}
}

// TestR12DaemonEndsWithTheSession leaves a daemon behind that holds standard
// output open: the session's end, and with it the pipe's, shows its death.
func TestR12DaemonEndsWithTheSession(t *testing.T) {
	s := newStage(t, attempt(t))
	before := rig.Snapshot(t)
	r := s.world.Run(rig.Session{Args: []string{program, "linger"}, Timeout: 10 * time.Second})
	if r.Exit != 0 || r.Stdout != "lingering\n" {
		t.Errorf("got %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestP1PtraceStaysInside permits what a debugger needs: it reaches the
// agent's own processes and no other.
func TestP1PtraceStaysInside(t *testing.T) {
	newStage(t, attempt(t)).permitted("ptrace", nil)
}

// TestR4RingsAreJudgedByTheHooks permits io_uring: no filter sees the calls that
// a ring makes, and the hooks still do, LSM programs those for families beside
// IP. Where nothing judges one that is there, the session does not start (R6).
func TestR4RingsAreJudgedByTheHooks(t *testing.T) {
	s := newStage(t, attempt(t))
	tap := s.world.Tap(nil)
	r := s.world.Run(rig.Session{Policy: s.policy("permit: [io_uring]\n"), Args: []string{"echo", "ran"}})
	judged := callsLSM(t)
	if hasVSOCK() && !judged {
		if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "AF_VSOCK") || !strings.Contains(r.Stderr, "take io_uring out") {
			t.Errorf("got %v", r)
		}
		return
	}
	var instead map[string]string
	if judged {
		instead = map[string]string{"uring_packet": "socket=EAFNOSUPPORT"}
	}
	s.permitted("io_uring", instead)
	s.nothingEscaped(tap)
}

func hasVSOCK() bool {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return err == nil && unix.Close(fd) == nil
}

// permitted runs the ways that testdata/permitted.txt has for a permission in a
// session that gives it, and compares. Some may have another outcome here.
func (s *stage) permitted(permission string, instead map[string]string) {
	s.Helper()
	want := make(map[string]string)
	args := []string{program, "all", s.know()}
	for _, line := range readLines(s.T, "permitted", 3) {
		if line[0] == permission {
			want[line[1]] = line[2]
			args = append(args, line[1])
		}
	}
	maps.Copy(want, instead)
	r := s.world.Run(rig.Session{Policy: s.policy("permit: [" + permission + "]\n"), Args: args})
	got := outcomes(s.T, r.Stdout)
	if len(got) == 0 {
		s.Errorf("no way was tried: %v", r)
	}
	for way, outcome := range want {
		if got[way] != outcome {
			s.Errorf("%s: %s, want %s", way, got[way], outcome)
		}
	}
}

// TestDenialsSayWhoAndWhere looks into the records of a few refusals.
func TestDenialsSayWhoAndWhere(t *testing.T) {
	s := newStage(t, attempt(t))
	want := map[string]audit.Record{
		"tcp4":        {Address: "192.0.2.7", Port: 443, Proto: "tcp", Reason: audit.ReasonUndeclared},
		"tcp6":        {Address: "2001:db8:2::7", Port: 443, Proto: "tcp", Reason: audit.ReasonUndeclared},
		"mapped":      {Address: "192.0.2.7", Port: 443, Proto: "tcp", Reason: audit.ReasonUndeclared},
		"listener6":   {Address: "::1", Port: 981, Proto: "tcp", Reason: audit.ReasonListener},
		"udp_sendto":  {Address: "192.0.2.7", Port: 4433, Proto: "udp", Reason: audit.ReasonUDP},
		"udp_connect": {Address: "192.0.2.7", Port: 4433, Proto: "udp", Reason: audit.ReasonUDP},
		"name_8443":   {Name: name, Port: 8443, Proto: "tcp", Reason: audit.ReasonPortNotAllowed},
	}
	// Each kernel has one of both: MPTCP where it is configured, UDP-Lite before 7.2.
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP); err == nil {
		unix.Close(fd)
		want["mptcp6"] = audit.Record{Proto: "mptcp", Reason: audit.ReasonProtocol}
	} else {
		want["udplite6"] = audit.Record{Proto: "136", Reason: audit.ReasonProtocol}
	}
	args := []string{program, "all", s.know()}
	for way := range want {
		args = append(args, way)
	}
	s.world.Run(rig.Session{Policy: s.policy(""), Args: args})
	for _, r := range s.world.Audit() {
		w, ok := want[r.Comm]
		if !ok {
			continue
		}
		delete(want, r.Comm)
		if r.Verdict != audit.Deny || r.UID != rig.UID || r.PID == 0 ||
			r.Address != w.Address && w.Name == "" || r.Name != w.Name || r.Port != w.Port || r.Proto != w.Proto || r.Reason != w.Reason {
			t.Errorf("%s: %+v", r.Comm, r)
		}
	}
	if len(want) > 0 {
		t.Errorf("no records of %v", want)
	}
}
