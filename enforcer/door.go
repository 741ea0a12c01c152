// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/accept"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// A session's supervisor listens on a socket in its state directory, which root
// alone may enter: one line of JSON in, one out.
//
//	{"do":"reload"}                       the policy is read again
//	{"do":"stored","names":["openai"]}    these were stored anew
//	{"do":"removed","names":["openai"]}   these were removed
//	{"do":"info"}                         how it goes
//	{"do":"stop","timeout":10000000000}   the agent is ended, after so many ns by force
//	{"do":"exec","visitor":{…}} + socket  a program runs beside the agent; package console
//	                                      draws what is said over the socket
//	◀ {}, {"info":{…}} or {"error":"…"}
const doorName = "door"

// What may be asked at a door.
const (
	doReload  = "reload"
	doStored  = "stored"
	doRemoved = "removed"
	doInfo    = "info"
	doStop    = "stop"
	doExec    = "exec"
)

// doorDeadline bounds one errand: helpers have ten seconds.
const doorDeadline = 30 * time.Second

// maxErrand bounds one line, in bytes.
const maxErrand = 64 << 10

type errand struct {
	Do      string        `json:"do"`
	Names   []string      `json:"names,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	Visitor Visitor       `json:"visitor,omitzero"`

	socket *os.File // of doExec
}

type outcome struct {
	Error string `json:"error,omitempty"`
	Info  *Info  `json:"info,omitempty"`
}

// openDoor listens until the session ends.
func (s *Session) openDoor() error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.dir.path, doorName), Net: "unix"})
	if err != nil {
		return fmt.Errorf("open door: %w", err)
	}
	l.SetUnlinkOnClose(false) // goes with its directory
	s.undo.push(l.Close)
	go func() {
		for {
			conn, err := accept.Next(context.Background(), l.AcceptUnix, s.config.Logger)
			if err != nil {
				return
			}
			go s.serveDoor(conn)
		}
	}()
	return nil
}

func (s *Session) serveDoor(conn *net.UnixConn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(doorDeadline))
	var said outcome
	if err := s.run(conn, &said); err != nil {
		said.Error = err.Error()
	}
	// Whoever asked may have gone.
	_ = json.NewEncoder(conn).Encode(said)
}

var errStranger = errors.New("only root may ask")

func (s *Session) run(conn *net.UnixConn, said *outcome) error {
	if uid, err := peerUID(conn); err != nil || uid != 0 {
		return errors.Join(errStranger, err)
	}
	e, err := readErrand(conn)
	if err != nil {
		return err
	}
	if e.socket != nil {
		defer e.socket.Close()
	}
	if e.Do == doInfo {
		said.Info = s.info()
		return nil
	}
	select {
	case <-s.serving: // what was stored while the session began is fetched again
	case <-s.closing:
		if e.Do == doStop {
			return nil
		}
		return net.ErrClosed
	}
	switch e.Do {
	case doReload:
		return s.Reload()
	case doStored:
		return s.Stored(e.Names)
	case doRemoved:
		return s.Removed(e.Names)
	case doStop:
		return s.stop(e.Timeout)
	case doExec:
		return s.openBeside(e.socket, e.Visitor)
	}
	return fmt.Errorf("unknown errand %q", e.Do)
}

// openBeside begins the conversation about a program.
func (s *Session) openBeside(socket *os.File, who Visitor) error {
	if socket == nil {
		return errNoConversation
	}
	person, err := asConversation(socket)
	if err == nil {
		go s.serveBeside(person, who)
	}
	return err
}

// readErrand reads one line, and the socket that came with its beginning.
func readErrand(conn *net.UnixConn) (e errand, err error) {
	begun, rights := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4))
	n, controls, flags, _, err := conn.ReadMsgUnix(begun, rights)
	if err != nil {
		return e, fmt.Errorf("read errand: %w", err)
	}
	var sockets []*os.File
	if sockets, err = rightsFiles(rights[:controls]); len(sockets) == 1 {
		e.socket = sockets[0]
	}
	if err == nil && (flags&unix.MSG_CTRUNC != 0 || len(sockets) > 1) {
		err = errNoConversation
	}
	rest := io.MultiReader(bytes.NewReader(begun[:n]), conn)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(rest, maxErrand)).Decode(&e)
	}
	if err != nil {
		closeAll(sockets)
		return errand{}, fmt.Errorf("read errand: %w", err)
	}
	return e, nil
}

func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("ask for peer: %w", err)
	}
	var peer *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return -1, fmt.Errorf("ask for peer: %w", errors.Join(controlErr, err))
	}
	return int(peer.Uid), nil
}

// saveState writes down what the session uses of the store. The caller holds
// renewing, or nobody else is there yet.
func (s *Session) saveState() error {
	s.state.Stored = nil
	for _, from := range sources(s.config.Policy, s.config.With, s.config.Profile) {
		if name, ok := strings.CutPrefix(from.from, string(secret.KindStore)+":"); ok {
			s.state.Stored = append(s.state.Stored, name)
		}
	}
	return s.dir.save(s.state)
}

// Renewal is what became of one session that was asked to renew something.
type Renewal struct {
	Session string `json:"session"`
	Command string `json:"command,omitempty"`
	Error   string `json:"error,omitempty"` // "": done
}

// ErrNoSession is a name that no running session has.
var ErrNoSession = errors.New("no such session")

// ReloadSessions asks sessions, or all where ids is empty, to read their policy
// and credentials again: see [Session.Reload].
func ReloadSessions(ids []string) ([]Renewal, error) {
	running, err := runningSessions()
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(running, func(s state) bool { return s.ID == id }) {
			return nil, fmt.Errorf("reload: session %q: %w", id, ErrNoSession)
		}
	}
	return askSessions(running, errand{Do: doReload}, func(s state) bool { return len(ids) == 0 || slices.Contains(ids, s.ID) }), nil
}

// TellStored tells every session that may use the credential stored as name
// that it is another one now, or, with removed, that there is none.
func TellStored(name string, removed bool) ([]Renewal, error) {
	running, err := runningSessions()
	if err != nil {
		return nil, fmt.Errorf("tell sessions: %w", err)
	}
	e := errand{Do: doStored, Names: []string{name}}
	if removed {
		e.Do = doRemoved
	}
	return askSessions(running, e, func(s state) bool { return slices.Contains(s.Stored, name) }), nil
}

// runningSessions are those that have state; whether somebody answers at their
// door is found out by asking.
func runningSessions() ([]state, error) {
	entries, err := os.ReadDir(StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var running []state
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if s, err := loadState(filepath.Join(StateDir, e.Name())); err == nil && s.ID != "" {
			running = append(running, s)
		}
	}
	return running, nil
}

// askSessions asks all at once: each has its own helpers to wait for.
func askSessions(running []state, e errand, wanted func(state) bool) []Renewal {
	done := make(chan Renewal)
	asked := 0
	for _, s := range running {
		if wanted(s) {
			asked++
			go func() {
				r := Renewal{Session: s.ID, Command: s.Command}
				_, err := askSession(s.ID, e)
				if err != nil {
					r.Error = err.Error()
				}
				if isGone(err) {
					r.Session = "" // dead, and gc's
				}
				done <- r
			}()
		}
	}
	all := make([]Renewal, 0, asked)
	for range asked {
		if r := <-done; r.Session != "" {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Renewal) int { return strings.Compare(a.Session, b.Session) })
	return all
}

// isGone tells that nobody was at the door.
func isGone(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// askSession runs one errand. The sockets go with it.
func askSession(id string, e errand, sockets ...*os.File) (said outcome, err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(StateDir, id, doorName), Net: "unix"})
	if err != nil {
		return said, fmt.Errorf("ask session: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(doorDeadline))
	if err := sendErrand(conn, e, sockets); err != nil {
		return said, fmt.Errorf("ask session: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxErrand)).Decode(&said); err != nil {
		return said, fmt.Errorf("ask session: %w", err)
	}
	if said.Error != "" {
		return said, errors.New(said.Error)
	}
	return said, nil
}

func sendErrand(conn *net.UnixConn, e errand, sockets []*os.File) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range sockets {
		fd, err := Descriptor(f)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(append(line, '\n'), rights, nil)
	return err
}
