// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"net"
	"sync"
	"time"
)

// callbackLinger is how long a login's port stays on the host once the login is
// stored: the browser is still shown the page that says so, which it asks for
// in a connection of its own.
const callbackLinger = time.Minute

// callback is the port of the host at which a browser ends a login. It is there
// for one: when the login is stored it goes with the tool's own server, and a
// minute later at the latest.
type callback struct {
	login string
	l     net.Listener

	mu     sync.Mutex
	made   bool
	timer  *time.Timer
	closed bool
}

// done is called when the login is stored.
func (c *callback) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.made && !c.closed {
		c.made, c.timer = true, time.AfterFunc(callbackLinger, c.close)
	}
}

// close takes the port from the host.
func (c *callback) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed = true; c.timer != nil {
		c.timer.Stop()
	}
	// Nobody is there to tell: what it ends is its own accept.
	_ = c.l.Close()
}

// isClosed tells an end that was meant from one that was not.
func (c *callback) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// watch closes the port, too, when the login is stored and the tool listens no
// more.
func (c *callback) watch(to far) far {
	dial := to.dial
	to.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		c.mu.Lock()
		over := err != nil && c.made
		c.mu.Unlock()
		if over {
			c.close()
		}
		return conn, err
	}
	return to
}

// callbacks are those of a policy's sessions. A login is one session's alone: a
// node has none.
type callbacks struct {
	mu  sync.Mutex
	all []*callback
}

func (c *callbacks) add(one *callback) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, one)
}

// done closes those of a login that is stored.
func (c *callbacks) done(login string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all {
		if one.login == login {
			one.done()
		}
	}
}

// servePublished begins to serve one port of the host's until the session ends, and a
// login's until that is stored.
func (s *sessionStage) servePublished(l net.Listener, name socketName) {
	to := s.publishOne(name.Index)
	if name.Index < 0 || name.Index >= len(s.spec.Publish) || s.spec.Publish[name.Index].Login == "" {
		go s.ends(name, func() error { return s.relays.serve(l, to) })
		return
	}
	c := &callback{login: s.spec.Publish[name.Index].Login, l: l}
	s.policy.callbacks.add(c) // before anything can come of the login
	go func() {
		if err := s.relays.serve(l, c.watch(to)); !c.isClosed() {
			s.ends(name, func() error { return err })
		}
	}()
}
