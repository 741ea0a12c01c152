// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// listen opens one of our own sockets, or takes it from the service manager.
// network is unix or unixpacket.
func (d *Daemon) listen(network, name string) (*net.UnixListener, error) {
	if f := d.inherited.sockets[name]; f != nil {
		defer f.Close()
		delete(d.inherited.sockets, name)
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("listen on inherited %s: %w", name, err)
		}
		if unixl, ok := l.(*net.UnixListener); ok && l.Addr().Network() == network {
			return unixl, nil
		}
		return nil, errors.Join(fmt.Errorf("listen on inherited %s: it is of network %s, not %s", name, l.Addr().Network(), network), l.Close())
	}
	path := d.config.socket(name)
	// The programs are locked by us: whoever left the file is gone.
	if err := removeFile(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	err = os.Chown(path, 0, max(d.group, 0))
	if mode := os.FileMode(0o600); err == nil {
		if d.group >= 0 {
			mode = 0o660
		}
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}
