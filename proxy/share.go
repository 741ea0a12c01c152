// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"sync"
)

// What a session that shares a process is certain of: few, so that a process
// with 20,000 descriptors has room for a thousand sessions, and enough to work.
const (
	certainConnections = 4 // of the agent's; each may be a tunnel with another end
	certainUpstream    = 4 // connections to upstreams beside tunnels, idle ones included
	perConnection      = 2
	pipesOfTunnel      = 4 // descriptors of splice(2): a pipe each way, while bytes move
	listenersOfOne     = 6
)

// Share divides the descriptors of a process between its sessions: each is
// certain of a part, and what is left over goes to whoever asks first. So a
// session that takes all it can get leaves every other its part (D11).
type Share struct {
	mu   sync.Mutex
	free int
}

// NewShare divides so many descriptors.
func NewShare(descriptors int) *Share { return &Share{free: descriptors} }

// ErrShare is returned for a session for which there is no part left.
var ErrShare = errors.New("the process serves as many sessions as it has descriptors for")

// partOfOne is what a session is certain of, in descriptors.
const partOfOne = listenersOfOne + certainConnections*perConnection + certainUpstream

func (s *Share) take(n int) bool {
	if s == nil {
		return true // there is no other session
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free < n {
		return false
	}
	s.free -= n
	return true
}

func (s *Share) give(n int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
}

// Room counts connections of one session and one kind. The zero Room has no
// bounds.
type Room struct {
	share   *Share
	certain int // connections
	each    int // descriptors of one

	mu       sync.Mutex
	used     int
	borrowed int // of used, those beyond what is certain
}

// NewRoom is for connections of a session that its [Server] does not see, and for
// so many descriptors of each. One is certain; the error is [ErrShare].
func (s *Share) NewRoom(each int) (*Room, error) {
	if !s.take(each) {
		return nil, ErrShare
	}
	return &Room{share: s, certain: 1, each: each}, nil
}

// Close gives back what was certain. No connection may be left.
func (r *Room) Close() { r.share.give(r.certain * r.each) }

// Take reports whether there may be one more.
func (r *Room) Take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used-r.borrowed >= r.certain {
		if !r.share.take(r.each) {
			return false
		}
		r.borrowed++
	}
	r.used++
	return true
}

// Give takes the room of one back.
func (r *Room) Give() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used--
	if r.borrowed > 0 {
		r.borrowed--
		r.share.give(r.each)
	}
}

// slots are the connections that the agent of one session may have open.
type slots struct {
	all  chan struct{} // one for each
	room Room
}

// take reports whether there is room for one more connection.
func (s *slots) take() bool {
	select {
	case s.all <- struct{}{}:
	default:
		return false
	}
	if !s.room.Take() {
		<-s.all
		return false
	}
	return true
}

// give takes the room of one connection back.
func (s *slots) give() {
	s.room.Give()
	<-s.all
}
