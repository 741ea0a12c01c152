// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// groupID returns the group that may reach the sockets; -1: root alone may. A
// group that was asked for has to be there; of the usual one not even a file of
// groups, which an image of static programs has none of.
func groupID(name string) (int, error) {
	asked := name != ""
	if !asked {
		name = Group
	}
	g, err := user.LookupGroup(name)
	unknown := user.UnknownGroupError("")
	if !asked && (errors.As(err, &unknown) || errors.Is(err, fs.ErrNotExist)) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("find group of the sockets: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1, fmt.Errorf("find group of the sockets: %w", err)
	}
	return gid, nil
}

// peerKey is where a connection's peer is in a request's context.
type peerKey struct{}

// withPeer notes who is at the other end, as the kernel noted it when the
// connection was made. Where it cannot be told it is nobody.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	uid := uint32(nobody)
	if peer, err := credentials(conn); err == nil {
		uid = peer.Uid
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// nobody is the uid that no process has (the -1 of setresuid).
const nobody = ^uint32(0)

func isRoot(ctx context.Context) bool {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	return ok && uid == 0
}

// ofRoot tells whether root's program is at the other end.
func ofRoot(conn net.Conn) bool {
	peer, err := credentials(conn)
	return err == nil && peer.Uid == 0
}

func credentials(conn net.Conn) (peer *unix.Ucred, err error) {
	unixConn, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(controlErr, err)
}
