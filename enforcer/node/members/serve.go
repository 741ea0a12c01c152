// SPDX-License-Identifier: Apache-2.0

package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/proxy/accept"
)

// Socket is where members ask, a SOCK_SEQPACKET socket.
const Socket = "/run/phantom-ns-node/run.sock"

// Group is whose members may ask, where the daemon is not told another.
const Group = "phantom-ns"

// SupervisorStage is argv[0] of the supervisor of a member's session; the folder
// of policies is argv[1], and the member's socket its descriptor ConnectionFD.
const SupervisorStage = "phantom-ns: supervisor"

// ConnectionFD is where a supervisor finds the member's socket.
const ConnectionFD = 3

// Bounds on what members start at once. A session costs some 70 MB and three
// processes of ours.
const (
	sessionsOfOne = 32
	sessionsOfAll = 256
)

// Config is what Serve needs.
type Config struct {
	Group      string   // empty: Group
	Policies   string   // the folder of those that members name; empty: Policies
	Executable string   // of supervisors; empty: /proc/self/exe
	Env        []string // of supervisors: CREDENTIALS_DIRECTORY, where the service has credentials
	Logger     *slog.Logger
}

// Serve starts a supervisor for each member that comes to l, until ctx ends or l
// fails. Supervisors and their sessions go on then: whoever stops the daemon
// stops it alone (systemd: KillMode=process).
func Serve(ctx context.Context, l *net.UnixListener, config Config) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	s := &server{config: config, sessions: make(map[uint32]int)}
	for {
		conn, err := accept.Next(ctx, l.AcceptUnix, config.Logger)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept member: %w", err)
		}
		if err := s.serve(conn); err != nil {
			config.Logger.Warn("start session of member", "error", err)
			console.Refuse(conn, err)
		}
		conn.Close()
	}
}

type server struct {
	config   Config
	mu       sync.Mutex
	sessions map[uint32]int // by uid
	all      int
}

// ErrNotMember is of somebody who may not ask.
var ErrNotMember = errors.New("not a member of the group")

// ErrTooMany is of a member with as many sessions as there may be.
var ErrTooMany = errors.New("too many sessions")

// serve starts the supervisor of one member's session.
func (s *server) serve(conn *net.UnixConn) error {
	peer, err := s.admit(conn)
	if err != nil {
		return err
	}
	if err := s.take(peer.Uid); err != nil {
		return err
	}
	supervisor, err := s.start(conn)
	if err != nil {
		s.release(peer.Uid)
		return err
	}
	go func() {
		defer s.release(peer.Uid)
		// How the session went, the member was told and the audit log has.
		_ = supervisor.Wait()
	}()
	return nil
}

func (s *server) start(conn *net.UnixConn) (*exec.Cmd, error) {
	file, err := conn.File()
	if err != nil {
		return nil, fmt.Errorf("pass socket: %w", err)
	}
	defer file.Close()
	cmd := &exec.Cmd{
		Path: cmp.Or(s.config.Executable, "/proc/self/exe"), Args: []string{SupervisorStage, cmp.Or(s.config.Policies, Policies)},
		Env: append([]string{}, s.config.Env...), Dir: "/", Stderr: os.Stderr, ExtraFiles: []*os.File{file},
		// Not the daemon's: what ends its session's processes leaves them alone.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	return cmd, nil
}

func (s *server) take(uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[uid] >= sessionsOfOne || s.all >= sessionsOfAll {
		return fmt.Errorf("uid %d: %w", uid, ErrTooMany)
	}
	s.sessions[uid]++
	s.all++
	return nil
}

func (s *server) release(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.sessions[uid]--; s.sessions[uid] == 0 {
		delete(s.sessions, uid)
	}
}

// admit asks the kernel who connected, and whether that process had the group.
func (s *server) admit(conn *net.UnixConn) (*unix.Ucred, error) {
	name := cmp.Or(s.config.Group, Group)
	group, err := user.LookupGroup(name)
	if err != nil {
		return nil, fmt.Errorf("group %q: %w", name, err)
	}
	peer, groups, err := Peer(conn)
	if err != nil {
		return nil, err
	}
	member := slices.ContainsFunc(groups, func(gid uint32) bool { return strconv.FormatUint(uint64(gid), 10) == group.Gid })
	if !member {
		return nil, fmt.Errorf("uid %d: %w %q", peer.Uid, ErrNotMember, name)
	}
	return peer, nil
}

// Peer is the process that connected, as it was then, and all its groups.
func Peer(conn *net.UnixConn) (peer *unix.Ucred, groups []uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("ask for peer: %w", err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			groups, err = peerGroups(fd)
		}
	})
	if err := errors.Join(controlErr, err); err != nil {
		return nil, nil, fmt.Errorf("ask for peer: %w", err)
	}
	return peer, append(groups, peer.Gid), nil
}
