// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Info is what a running session tells of itself.
type Info struct {
	ID          string    `json:"id"`
	Command     string    `json:"command"`
	UID         int       `json:"uid"`
	PID         int       `json:"pid"` // of the supervisor
	Started     time.Time `json:"started"`
	Credentials []string  `json:"credentials"` // names
	Allowed     uint64    `json:"allowed"`     // requests and connections
	Denied      uint64    `json:"denied"`      // denials of any kind
}

// Everybody is whose sessions root sees.
const Everybody = -1

// sessionsOf are those that somebody may know of: Everybody's, or those that
// the daemon began for the member who has the uid. What was begun with sudo is
// root's, whoever its agent is.
func sessionsOf(uid int) ([]state, error) {
	running, err := runningSessions()
	return slices.DeleteFunc(running, func(s state) bool { return uid != Everybody && (!s.Member || s.UID != uid) }), err
}

// Sessions are those that run, the oldest first, of Everybody or of one member.
// One that does not answer is left out: it has ended, or is gc's.
func Sessions(uid int) ([]Info, error) {
	running, err := sessionsOf(uid)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	found := make(chan *Info)
	for _, state := range running {
		go func() {
			said, err := askSession(state.ID, errand{Do: doInfo})
			if err != nil || said.Info == nil {
				found <- nil
				return
			}
			info := *said.Info
			info.ID, info.Command, info.UID, info.PID, info.Started = state.ID, state.Command, state.UID, state.PID, state.Started
			found <- &info
		}()
	}
	all := make([]Info, 0, len(running))
	for range running {
		if info := <-found; info != nil {
			all = append(all, *info)
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return a.Started.Compare(b.Started) })
	return all, nil
}

// info is what the state does not say.
func (s *Session) info() *Info {
	i := &Info{Credentials: []string{}}
	select {
	case <-s.serving:
	default:
		return i // it begins
	}
	s.renewing.Lock()
	for _, c := range s.spec.Credentials {
		i.Credentials = append(i.Credentials, c.Name)
	}
	s.renewing.Unlock()
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	i.Allowed, i.Denied = s.tally.allowed, s.tally.refused
	return i
}

// ErrAmbiguous is of the beginning of an id that several sessions share.
var ErrAmbiguous = errors.New("more than one session begins so")

// FindSession completes the beginning of an id, among the sessions of Everybody
// or of one member. ErrNoSession and ErrAmbiguous name those that there are.
func FindSession(prefix string, uid int) (string, error) {
	running, err := sessionsOf(uid)
	if err != nil {
		return "", fmt.Errorf("find session: %w", err)
	}
	var fits, all []string
	for _, s := range running {
		if s.ID == prefix {
			return s.ID, nil
		}
		all = append(all, fmt.Sprintf("%s (%s)", s.ID, strings.Map(printable, s.Command)))
		if prefix != "" && strings.HasPrefix(s.ID, prefix) {
			fits = append(fits, s.ID)
		}
	}
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(fits) > 1:
		return "", fmt.Errorf("session %q: %w: %s", prefix, ErrAmbiguous, strings.Join(fits, ", "))
	case len(all) > 0:
		return "", fmt.Errorf("session %q: %w; there are %s", prefix, ErrNoSession, strings.Join(all, ", "))
	}
	return "", fmt.Errorf("session %q: %w", prefix, ErrNoSession)
}
