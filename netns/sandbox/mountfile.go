// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// mountFiles puts the session's own files in the place of the host's.
func (p *pid1) mountFiles(*view) error {
	for _, f := range []struct {
		path    string
		content []byte
	}{
		{"/etc/hosts", p.launch.Hosts},
		{"/etc/nsswitch.conf", p.launch.Nsswitch},
		{"/etc/resolv.conf", p.launch.ResolvConf},
	} {
		if err := p.mountFile(f.path, f.content); err != nil {
			return fmt.Errorf("replace %s: %w", f.path, err)
		}
	}
	return nil
}

// mountFile replaces what name leads to over root's own links: a systemd host's
// /etc/resolv.conf is one into /run, where the target has to be made again. A
// host that lacks the file stays without: nothing is made on it, and the
// default of the C libraries asks 127.0.0.1 too.
func (p *pid1) mountFile(name string, content []byte) error {
	staged := path.Join(trust.Dir, path.Base(name))
	if err := os.WriteFile(staged, content, 0o444); err != nil {
		return err
	}
	final, err := resolve(name)
	if err != nil {
		return err
	}
	target, err := p.place(source{path: final, kind: unix.S_IFREG})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	kind, err := fileType(target)
	if err != nil || kind != unix.S_IFREG {
		return errors.Join(err, fmt.Errorf("%q is no regular file: %w", final, unix.EINVAL))
	}
	return bindReadOnly(staged, target)
}
