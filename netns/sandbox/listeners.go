// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// role says what a socket born inside is for.
type role struct {
	Use  use
	IPv6 bool
	Port uint16
}

// use is the service behind a socket.
type use uint8

const (
	useListener use = iota // TCP that the hooks rewrite to
	useDNS                 // datagrams of the stub
	useDNSTCP              // connections of the stub
	useForward             // a forwarded port
)

// Listeners are sockets born in the session's cgroup and network namespace and
// served outside. They are non-blocking: use them through net.FileListener,
// net.FilePacketConn or SyscallConn, never Fd. Those of IPv6 are nil when the
// namespace has none.
type Listeners struct {
	TCP4, TCP6       *os.File // 127.0.0.1 and ::1, port ListenerPort
	DNS4, DNS6       *os.File // UDP port 53, any address, with packet info; see ListenSpec.Pod
	DNSTCP4, DNSTCP6 *os.File // TCP port 53, any address; see ListenSpec.Pod
	Forward          map[uint16][]*os.File
}

// Listeners waits for the sockets that init opens. The caller owns them.
func (c *Child) Listeners() (*Listeners, error) {
	p, err := c.receive()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", c.lost(StageListen, err))
	}
	if p.kind != kindListeners {
		return nil, fmt.Errorf("sandbox: %w", c.unexpected(p))
	}
	var body listenersBody
	if err = p.decode(&body); err == nil && len(body.Roles) != len(p.fds) {
		err = fmt.Errorf("%d sockets for %d roles: %w", len(p.fds), len(body.Roles), unix.EBADMSG)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("sandbox: %w", stageError(StageListen, err))
	}
	l := &Listeners{Forward: make(map[uint16][]*os.File)}
	for i, r := range body.Roles {
		l.put(r, os.NewFile(uintptr(p.fds[i]), r.String()))
	}
	return l, nil
}

// String names the socket's file.
func (r role) String() string {
	family := 4
	if r.IPv6 {
		family = 6
	}
	return fmt.Sprintf("%s%d:%d", [...]string{"tcp", "dns", "dnstcp", "forward"}[r.Use&3], family, r.Port)
}

func (l *Listeners) put(r role, file *os.File) {
	if r.Use == useForward {
		l.Forward[r.Port] = append(l.Forward[r.Port], file)
		return
	}
	slots := map[use][2]**os.File{
		useListener: {&l.TCP4, &l.TCP6},
		useDNS:      {&l.DNS4, &l.DNS6},
		useDNSTCP:   {&l.DNSTCP4, &l.DNSTCP6},
	}[r.Use]
	slot := slots[0]
	if r.IPv6 {
		slot = slots[1]
	}
	if slot == nil {
		file.Close() // no such use
		return
	}
	*slot = file
}

// Close closes all of them.
func (l *Listeners) Close() error {
	var errs []error
	files := []*os.File{l.TCP4, l.TCP6, l.DNS4, l.DNS6, l.DNSTCP4, l.DNSTCP6}
	for _, forwarded := range l.Forward {
		files = append(files, forwarded...)
	}
	for _, f := range files {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
