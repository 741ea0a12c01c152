// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// port is a listener that nobody connects to.
type port struct{ closed chan struct{} }

func (p port) Accept() (net.Conn, error) { <-p.closed; return nil, net.ErrClosed }
func (p port) Addr() net.Addr            { return &net.TCPAddr{} }
func (p port) Close() error {
	select {
	case <-p.closed:
		return net.ErrClosed
	default:
		close(p.closed)
		return nil
	}
}

// TestCallbackEndsWithItsLogin: the port goes a minute after its own login is
// stored, or as soon as the tool listens no more, and not before.
func TestCallbackEndsWithItsLogin(t *testing.T) {
	for name, c := range map[string]struct {
		stored      string
		refused     bool // a connection finds no server
		soon, later bool // it is closed within the minute, after it
	}{
		"stored, and the tool still listens": {stored: "codex", later: true},
		"stored, and the tool has gone":      {stored: "codex", refused: true, soon: true, later: true},
		"another login":                      {stored: "claude", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one := &callback{login: "codex", l: port{make(chan struct{})}}
				var all callbacks
				all.add(one)
				all.done(c.stored)
				if c.refused {
					refusing := far{dial: func(context.Context) (net.Conn, error) { return nil, errors.New("refused") }}
					_, _ = one.watch(refusing).dial(t.Context())
				}
				time.Sleep(callbackLinger - 1)
				soon := one.isClosed()
				time.Sleep(2)
				if later := one.isClosed(); soon != c.soon || later != c.later {
					t.Errorf("closed within its time: %v, after: %v", soon, later)
				}
			})
		})
	}
}
