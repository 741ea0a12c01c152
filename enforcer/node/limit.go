// SPDX-License-Identifier: Apache-2.0

package node

import "net"

// Connections at a time. Members of the group may connect, too, if only to be
// told that there is a daemon: they get no turn of root's, so that nobody keeps
// a node's containers from starting by connecting.
const (
	maxConnections = 512
	maxOfMembers   = 16
)

// limited is a listener with so many connections at a time.
type limited struct {
	net.Listener
	ofRoot        func(net.Conn) bool
	root, members chan struct{}
}

func limit(l net.Listener, ofRoot func(net.Conn) bool) net.Listener {
	return &limited{l, ofRoot, make(chan struct{}, maxConnections), make(chan struct{}, maxOfMembers)}
}

// Accept lets root's wait for a turn, and closes those of members for whom there
// is none.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.ofRoot(conn) {
			l.root <- struct{}{}
			return newTurn(conn, l.root), nil
		}
		select {
		case l.members <- struct{}{}:
			return newTurn(conn, l.members), nil
		default:
			conn.Close()
		}
	}
}

type turn struct {
	*net.UnixConn
	turns chan struct{}
	ended chan struct{}
}

func newTurn(conn net.Conn, turns chan struct{}) *turn {
	return &turn{conn.(*net.UnixConn), turns, make(chan struct{}, 1)}
}

// Close gives the turn back, once.
func (t *turn) Close() error {
	select {
	case t.ended <- struct{}{}:
		<-t.turns
	default:
	}
	return t.UnixConn.Close()
}
