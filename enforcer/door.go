// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
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

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// A session's supervisor listens on a socket in its state directory, which root
// alone may enter: one line of JSON in, one out.
//
//	{"do":"reload"}                       the policy is read again
//	{"do":"stored","names":["openai"]}    these were stored anew
//	{"do":"removed","names":["openai"]}   these were removed
//	◀ {} or {"error":"…"}
const doorName = "door"

// What may be asked at a door.
const (
	doReload  = "reload"
	doStored  = "stored"
	doRemoved = "removed"
)

// doorDeadline bounds one errand: helpers have ten seconds.
const doorDeadline = 30 * time.Second

// maxErrand bounds one line, in bytes.
const maxErrand = 64 << 10

type errand struct {
	Do    string   `json:"do"`
	Names []string `json:"names,omitempty"`
}

type outcome struct {
	Error string `json:"error,omitempty"`
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
			conn, err := l.AcceptUnix()
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
	if err := s.run(conn); err != nil {
		said.Error = err.Error()
	}
	// Whoever asked may have gone.
	_ = json.NewEncoder(conn).Encode(said)
}

var errStranger = errors.New("only root may ask")

func (s *Session) run(conn *net.UnixConn) error {
	if uid, err := peerUID(conn); err != nil || uid != 0 {
		return errors.Join(errStranger, err)
	}
	var e errand
	if err := json.NewDecoder(io.LimitReader(conn, maxErrand)).Decode(&e); err != nil {
		return fmt.Errorf("read errand: %w", err)
	}
	select {
	case <-s.serving: // what was stored while the session began is fetched again
	case <-s.closing:
		return net.ErrClosed
	}
	switch e.Do {
	case doReload:
		return s.Reload()
	case doStored:
		return s.Stored(e.Names)
	case doRemoved:
		return s.Removed(e.Names)
	}
	return fmt.Errorf("unknown errand %q", e.Do)
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
				err := askSession(s.ID, e)
				if err != nil {
					r.Error = err.Error()
				}
				if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
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

func askSession(id string, e errand) error {
	conn, err := net.DialTimeout("unix", filepath.Join(StateDir, id, doorName), doorDeadline)
	if err != nil {
		return fmt.Errorf("ask session: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(doorDeadline))
	if err := json.NewEncoder(conn).Encode(e); err != nil {
		return fmt.Errorf("ask session: %w", err)
	}
	var said outcome
	if err := json.NewDecoder(io.LimitReader(conn, maxErrand)).Decode(&said); err != nil {
		return fmt.Errorf("ask session: %w", err)
	}
	if said.Error != "" {
		return errors.New(said.Error)
	}
	return nil
}
