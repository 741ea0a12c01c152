// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"sync"
)

// A session that shares a process keeps at most sharedIdle idle connections to
// upstreams of one protocol, and is certain of sharedConnections of the agent's.
// Each of those has its end at the upstream; beside them come the listeners.
const (
	sharedConnections = 16
	sharedIdle        = 32
	sharedListeners   = 8
	perConnection     = 2
)

// Share divides the descriptors of a process between its sessions: each is
// certain of a part, and what is left over goes to whoever asks first. So a
// session that takes all it can get leaves every other its part (D11).
type Share struct {
	connections int // that a session is certain of
	part        int // what they take, and what a session has beside them

	mu   sync.Mutex
	free int
}

// NewShare divides so many descriptors.
func NewShare(descriptors int) *Share {
	return &Share{
		connections: sharedConnections,
		part:        sharedConnections*perConnection + 2*sharedIdle + sharedListeners,
		free:        descriptors,
	}
}

// ErrShare is returned for a session for which there is no part left.
var ErrShare = errors.New("the process serves as many sessions as it can")

func (s *Share) take(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free < n {
		return false
	}
	s.free -= n
	return true
}

func (s *Share) give(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
}

// slots are the connections that one session may have open.
type slots struct {
	all   chan struct{} // one for each
	share *Share        // nil: no other session is there

	mu       sync.Mutex
	borrowed int // taken beyond the session's part
}

func (s *slots) open() error {
	if s.share != nil && !s.share.take(s.share.part) {
		return ErrShare
	}
	return nil
}

func (s *slots) close() {
	if s.share != nil {
		s.share.give(s.share.part)
	}
}

// take reports whether there is room for one more connection.
func (s *slots) take() bool {
	select {
	case s.all <- struct{}{}:
	default:
		return false
	}
	if s.share == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all)-s.borrowed <= s.share.connections {
		return true
	}
	if !s.share.take(perConnection) {
		<-s.all
		return false
	}
	s.borrowed++
	return true
}

// give takes the room of one connection back.
func (s *slots) give() {
	<-s.all
	if s.share == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.borrowed > 0 {
		s.borrowed--
		s.share.give(perConnection)
	}
}
