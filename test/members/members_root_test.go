// SPDX-License-Identifier: Apache-2.0

//go:build root

package members

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// groupID is the group's in these worlds.
const groupID = 31099

// member is somebody with the group, stranger somebody without.
var (
	member   = &syscall.Credential{Uid: rig.UID, Gid: rig.GID, Groups: []uint32{groupID}}
	stranger = &syscall.Credential{Uid: rig.UID, Gid: rig.GID, Groups: []uint32{rig.GID}}
)

// node is a world with a daemon that members may ask.
type node struct {
	*rig.World
	t      *testing.T
	daemon *rig.Process
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{World: rig.New(t), t: t}
	n.own(filepath.Dir(members.Socket))
	n.do(func() error {
		f, err := os.OpenFile("/etc/group", os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "%s:x:%d:%s\n", members.Group, groupID, rig.User)
		return err
	})
	n.listen()
	return n
}

// own gives the world a folder of its own below /run, which it shares.
func (n *node) own(dir string) {
	n.t.Helper()
	if err := os.Mkdir(dir, 0o755); err == nil {
		n.t.Cleanup(func() { os.Remove(dir) })
	}
	n.do(func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755") })
}

func (n *node) do(f func() error) {
	n.t.Helper()
	if err := n.Do(f); err != nil {
		n.t.Fatal(err)
	}
}

var built sync.Once

func buildListener(program string) (err error) {
	built.Do(func() { err = rig.GoBuild(program, "./test/members/listener") })
	return err
}

// listen starts a daemon.
func (n *node) listen() {
	n.t.Helper()
	program := filepath.Join(filepath.Dir(rig.Binary(n.t)), "listener")
	if err := buildListener(program); err != nil {
		n.t.Fatal(err)
	}
	out, in := io.Pipe()
	// Its own: a pipe that supervisors hold open would be waited for.
	n.daemon = n.Program(rig.Session{Root: true, Stdout: in, Stderr: os.Stderr, Timeout: 2 * time.Minute}, program, members.Socket, rig.Binary(n.t))
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		n.t.Fatalf("the daemon said %q: %v", line, err)
	}
}

// ask starts a run of somebody's without sudo.
func (n *node) ask(who *syscall.Credential, s rig.Session, args ...string) *rig.Process {
	n.t.Helper()
	s.As = who
	return n.Program(s, rig.Binary(n.t), append([]string{"run"}, args...)...)
}

// The same as with sudo: streams, status, user, folder, environment.
func TestMemberRunsAnAgent(t *testing.T) {
	before := rig.Snapshot(t)
	n := newNode(t)
	for _, c := range []struct {
		args  []string
		stdin string
		exit  int
		out   string
		says  string
	}{
		{[]string{"sh", "-c", "cat; id; pwd; echo $LANG $SHELL $SECRET"}, "through\n", 0,
			fmt.Sprintf("through\nuid=%d(%s) gid=%d(%s) groups=%d(%s)\n%s\nC.UTF-8 /bin/sh\n", rig.UID, rig.User, rig.GID, rig.User, rig.GID, rig.User, rig.Work), ""},
		{[]string{"sh", "-c", "echo err >&2; exit 255"}, "", 255, "", "err\n"},
		{[]string{"sh", "-c", "kill -9 $$"}, "", 137, "", ""},
		{[]string{"no-such-command"}, "", 127, "", "PATH"},
		{[]string{"/etc/passwd"}, "", 126, "", "chmod"},
		{[]string{"sh", "-c", "echo >new; ls /root 2>/dev/null; echo closed"}, "", 0, "closed\n", ""},
	} {
		r := n.ask(member, rig.Session{Stdin: strings.NewReader(c.stdin), Env: []string{"SECRET=hidden"}}, c.args...).Wait()
		if r.Exit != c.exit || c.out != "" && r.Stdout != c.out || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%v: want %d and %q, got %v", c.args, c.exit, c.out, r)
		}
		if c.exit == 0 && !strings.Contains(r.Stderr, "phantom-ns: no policy, so no credential") {
			t.Errorf("%v: not told what it has: %v", c.args, r)
		}
	}
	var st unix.Stat_t
	n.do(func() error { return unix.Stat(filepath.Join(rig.Work, "new"), &st) })
	if st.Uid != rig.UID {
		t.Errorf("what the agent wrote is uid %d's", st.Uid)
	}
	n.end()
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// end ends the daemon alone.
func (n *node) end() {
	n.t.Helper()
	n.daemon.Process.Kill()
	n.daemon.Wait()
}

// The store's credential by a policy of the administrator's: the agent has a
// placeholder, and nothing that the member asks for widens it.
func TestMemberUsesPoliciesByName(t *testing.T) {
	n := newNode(t)
	canary := rig.Canary(t, "sk-proj-")
	if r := n.Command(strings.NewReader(canary+"\n"), "secret", "set", "openai"); r.Exit != 0 {
		t.Fatal(r)
	}
	n.Write("/etc/phantom-ns/policies/ai.yaml", []byte("version: 1\nprofile: none\ncredentials:\n  openai: {}\n"), 0o600)
	n.Write("/etc/phantom-ns/policies/mine.yaml", []byte("version: 1\n"), 0o644)
	n.do(func() error { return os.Chown("/etc/phantom-ns/policies/mine.yaml", rig.UID, rig.GID) })
	n.Give("/home/phantom-test/own.yaml", []byte("version: 1\n"), 0o644)
	r := n.ask(member, rig.Session{}, "--policy", "ai", "printenv", "OPENAI_API_KEY").Wait()
	if r.Exit != 0 || !strings.HasPrefix(r.Stdout, "sk-proj-") || strings.Contains(r.Stdout, canary) {
		t.Errorf("with the policy: %v", r)
	}
	for _, c := range []struct {
		flags []string
		names string
		says  string
	}{
		{[]string{"--policy", "/home/phantom-test/own.yaml"}, "own.yaml", "without .yaml"},
		{[]string{"--policy", "../policies/ai"}, "../policies/ai", "without .yaml"},
		{[]string{"--policy", "none-of-that-name"}, "none-of-that-name", "check the path"},
		{[]string{"--policy", "mine"}, "not a policy of the administrator's", "chown root"},
		{[]string{"--with", "openai"}, "--with", "sudo"},
		{[]string{"--login", "claude"}, "--login", "sudo"},
		{[]string{"--allow", "evil.example"}, "--allow", "sudo"},
		{[]string{"--policy", "ai", "--profile", "gh"}, "--profile", "leave --profile out"},
		{[]string{"--user", "nobody"}, "--user", "leave --user out"},
		{[]string{"--passphrase-fd", "3"}, "--passphrase-fd", "sudo"},
		{[]string{"--write", "/root/.ssh"}, "permission denied", ""},
	} {
		r := n.ask(member, rig.Session{}, append(c.flags, "echo", "started")...).Wait()
		if r.Exit != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, c.names) || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%v: want 125, %q and %q, got %v", c.flags, c.names, c.says, r)
		}
	}
	// One session began; its records name the member.
	uids := make(map[uint32]int)
	for _, record := range n.Audit() {
		if record.Kind == audit.KindSession {
			uids[record.UID]++
		}
	}
	if len(uids) != 1 || uids[rig.UID] != 2 {
		t.Errorf("the log has sessions of %v", uids)
	}
}

// A source that is read as root is not where the member's environment says.
func TestMemberChoosesNoFileThatRootReads(t *testing.T) {
	n := newNode(t)
	n.own("/run/credentials")
	n.Write("/run/credentials/other.service/key", []byte("0123456789abcdef0123456789abcdef"), 0o400)
	n.Write("/etc/phantom-ns/policies/unit.yaml", []byte(strings.Replace(demo, "SOURCE", "systemd:key", 1)), 0o644)
	r := n.ask(member, rig.Session{Env: []string{"CREDENTIALS_DIRECTORY=/run/credentials/other.service"}}, "--policy", "unit", "echo", "started").Wait()
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "systemd:key") {
		t.Errorf("got %v", r)
	}
}

// demo is a policy with one credential.
const demo = `version: 1
credentials:
  demo: {from: "SOURCE", env: [DEMO_KEY], hosts: [api.demo.test], inject: [bearer], allow: ["GET *"]}
`

// A registry that the member's own configuration names is no way out.
func TestMembersConfigurationOpensNothing(t *testing.T) {
	n := newNode(t)
	n.Give("/home/phantom-test/.npmrc", []byte("registry=https://evil.example/\n"), 0o644)
	r := n.ask(member, rig.Session{Env: []string{"NPM_CONFIG_REGISTRY=https://evil.example/"}},
		"--profile", "npm", "sh", "-c", "getent hosts evil.example || echo closed").Wait()
	if r.Stdout != "closed\n" || !strings.Contains(r.Stderr, "the policy has to name it") {
		t.Errorf("got %v", r)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	n := newNode(t)
	r := n.ask(stranger, rig.Session{}, "echo", "started").Wait()
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "not a member") {
		t.Errorf("without the group: %v", r)
	}
	r = n.ask(&syscall.Credential{Uid: 0, Gid: 0, Groups: []uint32{groupID}}, rig.Session{}, "echo", "started").Wait()
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "--user") {
		t.Errorf("as root: %v", r)
	}
	n.do(func() error { return os.Chmod(members.Socket, 0o660) })
	r = n.ask(stranger, rig.Session{}, "echo", "started").Wait()
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "needs root") || !strings.Contains(r.Stderr, "put you into the group") {
		t.Errorf("without access: %v", r)
	}
	n.end()
	r = n.ask(member, rig.Session{}, "echo", "started").Wait()
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "needs root") || strings.Count(r.Stderr, "\n") != 2 {
		t.Errorf("without a daemon: %v", r)
	}
}

// running are the sessions that root sees.
func (n *node) running() (ids []string) {
	n.t.Helper()
	var all []struct{ ID string }
	r := n.Command(nil, "ps", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		n.t.Fatalf("ps: %v: %v", err, r)
	}
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// wait starts an agent that waits, and returns when it does.
func (n *node) wait(s rig.Session, script string) *rig.Process {
	n.t.Helper()
	return n.untilReady(s, func(s rig.Session) *rig.Process { return n.ask(member, s, "sh", "-c", script) })
}

// untilReady starts an agent and returns when it says that it is ready.
func (n *node) untilReady(s rig.Session, start func(rig.Session) *rig.Process) *rig.Process {
	n.t.Helper()
	out, in := io.Pipe()
	s.Stdout = in
	p := start(s)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		n.t.Fatalf("the agent wrote %q: %v", line, err)
	}
	go io.Copy(io.Discard, out)
	return p
}

// The member's terminal: Ctrl-C, a new size and Ctrl-Z are the agent's, and
// what is said when a session ends comes when the terminal is the member's again.
func TestMemberAtATerminal(t *testing.T) {
	n := newNode(t)
	screen := rig.NewScreen(t)
	script := "set -m; " + rig.Binary(t) + ` run sh -c 'tty; trap "echo caught" INT; trap "stty size" WINCH; echo ready; until read a; do :; done; echo got $a; until read b; do :; done; echo end $b; echo change >.envrc; exit 5'; echo status $?; read go; fg >/dev/null; echo status $?; stty -a`
	p := n.Program(rig.Session{As: member, Terminal: screen.Near}, "bash", "-c", script)
	if seen := screen.Until("ready\r\n"); !strings.Contains(seen, "/dev/pts/0\r\n") {
		t.Errorf("saw %q", seen)
	}
	screen.Key("\x03")
	screen.Until("caught\r\n")
	screen.Resize(40, 100)
	screen.Until("40 100\r\n")
	screen.Key("hello\r")
	screen.Until("got hello\r\n")
	screen.Key("\x1a")
	screen.Until("status 148\r\n") // 128 + SIGTSTP
	screen.Key("\n")
	screen.Until("\r\n")
	screen.Key("again\r")
	screen.Until("end again\r\n")
	if seen := screen.Until("status 5\r\n"); !strings.Contains(seen, ".envrc") || strings.Contains(seen, "\r\r") {
		t.Errorf("saw %q", seen)
	}
	if seen := screen.Until("echoke"); !strings.Contains(seen, " icanon") || !strings.Contains(seen, " echo ") {
		t.Errorf("the terminal is %q", seen)
	}
	p.Wait()
}

const waiting = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 1000 & wait; done"

// O6: the daemon's end is not a session's.
func TestO6SessionOutlivesTheDaemon(t *testing.T) {
	before := rig.Snapshot(t)
	n := newNode(t)
	p := n.wait(rig.Session{}, waiting)
	n.end()
	if ids := n.running(); len(ids) != 1 {
		t.Errorf("sessions: %q", ids)
	}
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if r := p.Wait(); r.Exit != 9 || r.Stdout != "ready\ncaught\n" {
		t.Errorf("got %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The member's process is the session's: its death ends it, and so does root.
func TestMembersDeathEndsTheSession(t *testing.T) {
	before := rig.Snapshot(t)
	n := newNode(t)
	p := n.wait(rig.Session{}, waiting)
	ids := n.running()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	for _, id := range ids { // gone, or ended now; either way nothing is left
		if r := n.Command(nil, "stop", id); r.Exit != 0 && !strings.Contains(r.Stderr, "no such session") {
			t.Errorf("stop: %v", r)
		}
	}
	p = n.wait(rig.Session{}, waiting)
	if r := n.Command(nil, slices.Concat([]string{"stop"}, n.running())...); r.Exit != 0 {
		t.Errorf("stop: %v", r)
	}
	if r := p.Wait(); r.Exit != 143 {
		t.Errorf("stopped: %v", r)
	}
	n.end()
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
