// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
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

func (p port) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// TestCallbackEndsWithItsLogin: the port goes with the tool's server, or a minute
// after its own login is stored, and comes back only as long as that is not.
func TestCallbackEndsWithItsLogin(t *testing.T) {
	for name, c := range map[string]struct {
		stored             string
		gone               bool // the tool listens no more
		soon, later, again bool // it is closed within the minute, after it; another one is taken
	}{
		"stored, and the tool still listens": {stored: "codex", later: true},
		"stored, and the tool has gone":      {stored: "codex", gone: true, soon: true, later: true},
		"another login":                      {stored: "claude"},
		"the tool tries again":               {stored: "claude", gone: true, soon: true, later: true, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one := port{make(chan struct{})}
				var all callbacks
				if all.add("codex", one) != nil || !all.holds("codex", one) {
					t.Fatal("the first is not taken")
				}
				all.done(c.stored)
				if c.gone {
					all.close("codex")
				}
				time.Sleep(callbackLinger - 1)
				soon := one.isClosed()
				time.Sleep(2)
				if later := one.isClosed(); soon != c.soon || later != c.later || all.holds("codex", one) == later {
					t.Errorf("closed within its time: %v, after: %v", soon, later)
				}
				if again := all.add("codex", port{make(chan struct{})}); (again == nil) != c.again || c.stored == "codex" && again != errLoginMade {
					t.Errorf("another one is taken: %v", again)
				}
			})
		})
	}
}
