// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/systemd"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// inherited is what the service manager passed on: our own sockets, by the name
// of their file, and the listeners of sessions, by the cookie of the namespace
// that they were born in. Each is known by what it is and not by a name that it
// was given.
type inherited struct {
	sockets   map[string]*os.File
	listeners map[uint64]*sandbox.Listeners
}

func takeInherited(files []systemd.File) (inherited, error) {
	in := inherited{sockets: map[string]*os.File{}, listeners: map[uint64]*sandbox.Listeners{}}
	var errs []error
	for _, f := range files {
		if err := in.take(f.File); err != nil {
			errs = append(errs, fmt.Errorf("inherited descriptor %q: %w", f.Name, err), f.Close())
		}
	}
	return in, errors.Join(errs...)
}

var errUnexpected = errors.New("it is no socket of ours")

func (in *inherited) take(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var what socket
	var inner error
	if err := raw.Control(func(fd uintptr) { what, inner = lookAt(int(fd)) }); err != nil {
		return err
	}
	if inner != nil {
		return inner
	}
	if path, ok := what.address.(*unix.SockaddrUnix); ok && what.listens {
		return in.takeSocket(filepath.Base(path.Name), f)
	}
	l := in.listeners[what.cookie]
	if l == nil {
		l = &sandbox.Listeners{Forward: map[uint16][]*os.File{}}
		in.listeners[what.cookie] = l
	}
	slot := what.slot(l)
	switch {
	case slot == nil:
		return errUnexpected
	case *slot != nil:
		return f.Close() // kept twice
	}
	*slot = f
	return nil
}

func (in *inherited) takeSocket(name string, f *os.File) error {
	if in.sockets[name] != nil {
		return errUnexpected
	}
	in.sockets[name] = f
	return nil
}

// socket is what the kernel says of one.
type socket struct {
	kind    int
	address unix.Sockaddr
	listens bool
	cookie  uint64 // of its namespace
}

func lookAt(fd int) (s socket, err error) {
	if s.kind, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return s, err
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return s, err
	}
	s.listens = listens != 0
	if s.address, err = unix.Getsockname(fd); err != nil {
		return s, err
	}
	s.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return s, err
}

// slot is where a session's listener belongs; nil: nowhere.
func (s *socket) slot(l *sandbox.Listeners) **os.File {
	port, v6 := 0, false
	switch a := s.address.(type) {
	case *unix.SockaddrInet4:
		port = a.Port
	case *unix.SockaddrInet6:
		port, v6 = a.Port, true
	}
	stub := port == netns.DNSPort || port == stubPort
	switch {
	case s.kind == unix.SOCK_DGRAM && stub:
		return pick(v6, &l.DNS4, &l.DNS6)
	case s.kind != unix.SOCK_STREAM || !s.listens || port == 0:
		return nil
	case port == sandbox.ListenerPort:
		return pick(v6, &l.TCP4, &l.TCP6)
	case stub:
		return pick(v6, &l.DNSTCP4, &l.DNSTCP6)
	}
	both := append(l.Forward[uint16(port)], nil)
	l.Forward[uint16(port)] = both
	return &both[len(both)-1]
}

// stubPort is where the stub of a sealed namespace listens.
const stubPort = 53

func pick(v6 bool, four, six **os.File) **os.File {
	if v6 {
		return six
	}
	return four
}

// whole tells whether kept listeners are those that the session would open now.
func whole(l *sandbox.Listeners, ipv6 bool, forward []uint16) bool {
	if l == nil || l.TCP4 == nil || l.DNS4 == nil || l.DNSTCP4 == nil {
		return false
	}
	if ipv6 && (l.TCP6 == nil || l.DNS6 == nil || l.DNSTCP6 == nil) || len(l.Forward) != len(forward) {
		return false
	}
	families := 1
	if ipv6 {
		families = 2
	}
	return !slices.ContainsFunc(forward, func(port uint16) bool { return len(l.Forward[port]) != families })
}

// files lists a session's listeners.
func files(l *sandbox.Listeners) []*os.File {
	all := []*os.File{l.TCP4, l.TCP6, l.DNS4, l.DNS6, l.DNSTCP4, l.DNSTCP6}
	for _, forwarded := range l.Forward {
		all = append(all, forwarded...)
	}
	return slices.DeleteFunc(all, func(f *os.File) bool { return f == nil })
}
