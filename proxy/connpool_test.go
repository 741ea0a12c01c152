// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"testing"
	"time"
)

// D2: of idle connections those that were used last are kept, so many and for so
// long.
func TestD2IdleUpstreamsAreBounded(t *testing.T) {
	const kept = 2
	p := newConnPool(nil, nil, kept)
	defer p.CloseIdleConnections()
	var all []*upConn
	for _, key := range []string{"a", "b", "a"} {
		near, far := net.Pipe()
		defer far.Close()
		c := &upConn{pool: p, key: key, conn: near}
		p.keep(c)
		all = append(all, c)
	}
	closed := func(c *upConn) bool { return c.conn.SetDeadline(time.Time{}) != nil }
	if !closed(all[0]) || closed(all[1]) || closed(all[2]) || p.count() != kept {
		t.Errorf("closed: %t %t %t; %d are kept", closed(all[0]), closed(all[1]), closed(all[2]), p.count())
	}
	all[1].since = time.Now().Add(-upstreamIdle)
	p.reap()
	if !closed(all[1]) || closed(all[2]) || p.count() != 1 {
		t.Errorf("closed after their time: %t %t; %d are kept", closed(all[1]), closed(all[2]), p.count())
	}
}
