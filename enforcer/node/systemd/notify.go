// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Manager is the service manager that started us; nil is none.
type Manager struct{ conn *net.UnixConn }

// Connect finds the manager by $NOTIFY_SOCKET; nil where there is none.
func Connect(getenv func(string) string) (*Manager, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("connect to service manager: NOTIFY_SOCKET %q is no unix socket", path)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to service manager: %w", err)
	}
	return &Manager{conn}, nil
}

// Ready says that the service serves; status is for people.
func (m *Manager) Ready(status string) error { return m.notify("READY=1", "STATUS="+line(status)) }

// Stopping says that the service is on its way out.
func (m *Manager) Stopping() error { return m.notify("STOPPING=1") }

// Reloading says that the service reads its configuration again; Ready ends it.
func (m *Manager) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	return m.notify("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// maxFiles is what one message may carry (SCM_MAX_FD).
const maxFiles = 253

// Store gives the manager copies of descriptors to keep under a name until the
// service asks to forget them, over restarts and crashes. How many it keeps is
// the unit's FileDescriptorStoreMax=; what is too much, it closes in silence.
// They are kept whatever becomes of them (FDPOLL=0).
func (m *Manager) Store(name string, files ...*os.File) error {
	if m == nil || len(files) == 0 {
		return nil
	}
	if len(files) > maxFiles {
		return fmt.Errorf("store %q: %d descriptors, at most %d", name, len(files), maxFiles)
	}
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn() // Fd would make a shared socket blocking
		if err != nil {
			return fmt.Errorf("store %q: %w", name, err)
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return fmt.Errorf("store %q: %w", name, err)
		}
	}
	return m.send(unix.UnixRights(fds...), "FDSTORE=1", "FDNAME="+name, "FDPOLL=0")
}

// Forget lets the manager close what it keeps under a name.
func (m *Manager) Forget(name string) error { return m.notify("FDSTOREREMOVE=1", "FDNAME="+name) }

// Close ends the conversation.
func (m *Manager) Close() error {
	if m == nil {
		return nil
	}
	return m.conn.Close()
}

func (m *Manager) notify(assignments ...string) error { return m.send(nil, assignments...) }

func (m *Manager) send(rights []byte, assignments ...string) error {
	if m == nil {
		return nil
	}
	message := []byte(strings.Join(assignments, "\n"))
	raw, err := m.conn.SyscallConn() // net refuses rights on a connected datagram socket
	if err != nil {
		return fmt.Errorf("tell service manager: %w", err)
	}
	var n int
	var sent error
	// A full socket of the manager's holds us up, as sd_notify does.
	err = raw.Write(func(fd uintptr) bool {
		n, sent = unix.SendmsgN(int(fd), message, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err = errors.Join(err, sent); err == nil && n != len(message) {
		err = errors.New("cut off")
	}
	if err != nil {
		return fmt.Errorf("tell service manager: %w", err)
	}
	return nil
}

// line keeps a text from becoming an assignment of its own.
func line(text string) string { return strings.ReplaceAll(text, "\n", " ") }
