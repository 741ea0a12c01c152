// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// callbackLinger is how long a login's port may stay on the host once the login
// is stored: the browser is still shown the page that says so, which it asks for
// in a connection of its own.
const callbackLinger = time.Minute

// callbacks are the ports of the host's at which browsers end logins, those of a
// policy's sessions. A login is one session's alone: a node has none.
type callbacks struct {
	mu   sync.Mutex
	made map[string]bool         // logins that are stored
	open map[string]net.Listener // by login
}

var (
	errLoginMade    = errors.New("a login is made once in a session; start another session for a second one")
	errCallbackOpen = errors.New("the port is open already")
)

// add takes a login's port, unless the login is stored.
func (c *callbacks) add(login string, l net.Listener) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.made[login]:
		return errLoginMade
	case c.open[login] != nil:
		return errCallbackOpen
	}
	if c.open == nil {
		c.open = make(map[string]net.Listener)
	}
	c.open[login] = l
	return nil
}

// close takes the port of a login from the host.
func (c *callbacks) close(login string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.open[login]; l != nil {
		// Nobody is there to tell: what it ends is its own accept.
		_ = l.Close()
		delete(c.open, login)
	}
}

// holds tells an end that was not meant from one that was.
func (c *callbacks) holds(login string, l net.Listener) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[login] == l
}

// done is called when a login is stored.
func (c *callbacks) done(login string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made = make(map[string]bool)
	}
	if !c.made[login] {
		c.made[login] = true
		time.AfterFunc(callbackLinger, func() { c.close(login) })
	}
}

var errNoCallback = errors.New("not a login's port")

// callbackOf is the session and the login that a message is about.
func (p *proxyStage) callbackOf(m message) (s *sessionStage, login string, err error) {
	p.mu.Lock()
	s = p.sessions[m.Session]
	p.mu.Unlock()
	if s == nil || len(m.Sockets) != 1 {
		return nil, "", fmt.Errorf("session %q: %w", m.Session, errNoCallback)
	}
	index := m.Sockets[0].Index
	if index < 0 || index >= len(s.spec.Publish) || s.spec.Publish[index].Login == "" {
		return nil, "", fmt.Errorf("entry %d of publish: %w", index, errNoCallback)
	}
	return s, s.spec.Publish[index].Login, nil
}

// openCallback serves a login's port. One that comes when the login is stored is
// refused.
func (p *proxyStage) openCallback(m message, files []*os.File) (message, error) {
	s, login, err := p.callbackOf(m)
	if err != nil {
		return message{}, err
	}
	if len(files) != 1 {
		return message{}, fmt.Errorf("%d descriptors for one port", len(files))
	}
	l, err := net.FileListener(files[0])
	if err != nil {
		return message{}, err
	}
	known := &s.policy.callbacks
	if err := known.add(login, l); err != nil {
		return message{}, errors.Join(err, l.Close())
	}
	go func() {
		err := s.relays.serve(l, s.publishOne(m.Sockets[0].Index))
		if known.holds(login, l) {
			s.ends(m.Sockets[0], func() error { return err })
		}
	}()
	return message{}, nil
}

func (p *proxyStage) closeCallback(m message, _ []*os.File) (message, error) {
	s, login, err := p.callbackOf(m)
	if err == nil {
		s.policy.callbacks.close(login)
	}
	return message{}, err
}
