// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// To reach the agent's servers the proxy needs sockets of the session's
// namespace, and has no right to make any. It asks for them, one at a time, on
// a SOCK_SEQPACKET pair of its own that exists only where something is
// published:
//
//	proxy                                   supervisor
//	  ├─ family: one byte, 4 or 6 ─────────────▶│ socket(2) in the namespace
//	  │◀───────────── the same byte + the socket│ or 0, where it could not
//
// Such a socket opens no way for the agent: it is a client's, its namespace has
// lo alone, and the agent gets the other end of its connection and nothing else.
// It is not in the agent's cgroup, so that the hooks on connect do not see it;
// the namespace holds it as it holds everything.
const (
	family4 = 4
	family6 = 6
)

// insideDialTimeout bounds a connection over the namespace's own loopback. Only
// a server that accepts nothing more lets it pass.
const insideDialTimeout = 5 * time.Second

// inside is the proxy's end of the pair.
type inside struct {
	conn     *net.UnixConn
	deadline time.Duration

	mu sync.Mutex // an answer belongs to the question before it
}

var errNoSocket = errors.New("no socket in the namespace")

// dial connects to an address of the namespace.
func (d *inside) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	f, err := d.socket(to.Addr().Is6())
	if err != nil {
		return nil, fmt.Errorf("dial %s inside: %w", to, err)
	}
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("dial %s inside: %w", to, err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("dial %s inside: %T: %w", to, conn, errNoSocket)
	}
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	if err := connect(tcp, to, time.Now().Add(d.deadline)); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("dial %s inside: %w", to, err)
	}
	return tcp, nil
}

// socket asks for one.
func (d *inside) socket(ipv6 bool) (*os.File, error) {
	question := byte(family4)
	if ipv6 {
		question = family6
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.conn.Write([]byte{question}); err != nil {
		return nil, err
	}
	answer, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := d.conn.ReadMsgUnix(answer, oob)
	if err != nil {
		return nil, err
	}
	files, err := rightsFiles(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if n != 1 || answer[0] != question || len(files) != 1 {
		closeAll(files)
		return nil, errNoSocket
	}
	return files[0], nil
}

// connect finishes when the connection stands. Asked again on a socket that is
// connecting, connect(2) says how far it is.
func connect(conn *net.TCPConn, to netip.AddrPort, deadline time.Time) error {
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Write(func(fd uintptr) bool {
		inner = unix.Connect(int(fd), sa)
		return !errors.Is(inner, unix.EINPROGRESS) && !errors.Is(inner, unix.EALREADY)
	})
	if err := errors.Join(err, inner); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}
