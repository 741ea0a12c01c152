// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// table is what is attached. Its lock is held for looking things up and never
// over a step that waits.
type table struct {
	mu       sync.Mutex
	keys     map[api.Key]*attachment
	sessions map[uint64]*session // by cookie
	ids      map[uint64]string   // of sessions, by cookie
	troubles map[uint64]error    // why a session is not served, by cookie
}

// attachment is a key in use: being attached, attached, or being detached.
type attachment struct {
	settled chan struct{} // closed when it is known whether it came to be
	saved   saved         // after settled
	session *session      // after settled; nil: it did not come to be
}

func newTable() *table {
	return &table{
		keys: map[api.Key]*attachment{}, sessions: map[uint64]*session{}, ids: map[uint64]string{}, troubles: map[uint64]error{},
	}
}

// reserve takes a key for an attachment that is about to be made; nil: it is
// taken.
func (t *table) reserve(key api.Key) *attachment {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys[key] != nil {
		return nil
	}
	a := &attachment{settled: make(chan struct{})}
	t.keys[key] = a
	return a
}

// settle says what became of a reserved key.
func (t *table) settle(key api.Key, a *attachment, s *session, what saved) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.session, a.saved = s, what; s == nil {
		delete(t.keys, key)
	}
	close(a.settled)
}

// find returns the attachment of a key, when it is settled; nil: there is none.
func (t *table) find(ctx context.Context, key api.Key) (*attachment, error) {
	t.mu.Lock()
	a := t.keys[key]
	t.mu.Unlock()
	if a == nil {
		return nil, nil
	}
	select {
	case <-a.settled:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.session == nil {
		return nil, nil
	}
	return a, nil
}

// forget frees a key.
func (t *table) forget(key api.Key, a *attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys[key] == a {
		delete(t.keys, key)
	}
}

// enter returns the session of a namespace, locked; a new one where there is
// none.
func (t *table) enter(cookie uint64) *session {
	for {
		t.mu.Lock()
		s := t.sessions[cookie]
		if s == nil {
			s = &session{cookie: cookie}
			t.sessions[cookie] = s
		}
		t.mu.Unlock()
		s.mu.Lock()
		if !s.dead {
			return s
		}
		s.mu.Unlock()
	}
}

// leave unlocks a session, and drops one that holds nothing.
func (t *table) leave(s *session) {
	defer s.mu.Unlock()
	if s.live {
		return
	}
	s.dead = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.cookie] != s {
		return // the namespace has another one by now
	}
	delete(t.sessions, s.cookie)
	delete(t.ids, s.cookie)
	delete(t.troubles, s.cookie)
}

// of returns the session of a cookie without a lock on it; nil: none.
func (t *table) of(cookie uint64) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[cookie]
}

// all returns every session, by cookie.
func (t *table) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*session
	for _, s := range t.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.cookie, b.cookie) })
	return all
}

// attached returns what is attached, by container and interface.
func (t *table) attached() []saved {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []saved
	for _, a := range t.keys {
		if a.session != nil {
			all = append(all, a.saved)
		}
	}
	slices.SortFunc(all, func(a, b saved) int {
		return cmp.Or(cmp.Compare(a.Attachment.Container, b.Attachment.Container), cmp.Compare(a.Attachment.Interface, b.Attachment.Interface))
	})
	return all
}

// parts returns the attachments of a session.
func (t *table) parts(cookie uint64) []saved {
	return slices.DeleteFunc(t.attached(), func(what saved) bool { return what.Cookie != cookie })
}

// note keeps why a session is not served; nil: it is.
func (t *table) note(cookie uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.troubles, cookie)
	if err != nil {
		t.troubles[cookie] = err
	}
}

// trouble returns why a session is not served; nil: it is.
func (t *table) trouble(cookie uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.troubles[cookie]
}

// name makes a session known by its id, before anything can happen to it.
func (t *table) name(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids[s.cookie] = s.id
}

// named returns the session of an id without a lock on it; nil: none.
func (t *table) named(id string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	for cookie, known := range t.ids {
		if known == id {
			return t.sessions[cookie]
		}
	}
	return nil
}

// idOf returns the id of a namespace's session; "" where there is none.
func (t *table) idOf(cookie uint64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ids[cookie]
}
