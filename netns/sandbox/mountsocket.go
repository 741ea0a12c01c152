// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// maxSocketEntries bounds how many directory entries are looked at for sockets
// (getdents: about 1 ms).
const maxSocketEntries = 5000

// coverSockets covers the host's sockets that are left in sight: a read-only
// mount does not keep anybody from connecting to one (measured). The kernel
// lists the path of bind(2), and programs rename what they have bound, so the
// folders of the listed ones are looked through too, and, from the top down as
// far as the bound allows, the places that are written for real.
func (p *pid1) coverSockets(v *view) error {
	exposed := func(name string) bool {
		return slices.ContainsFunc(v.expose, func(s source) bool { return within(name, s.path) })
	}
	for _, name := range p.socketCandidates(v) {
		if exposed(name) {
			continue
		}
		target, err := openAnything(name)
		if err != nil {
			continue // out of root's sight, so out of the agent's
		}
		kind, err := fileType(target)
		if err == nil && kind == unix.S_IFSOCK {
			err = bindReadOnly(emptyFile, target)
		}
		if err := errors.Join(err, unix.Close(target)); err != nil {
			return fmt.Errorf("cover socket %q: %w", name, err)
		}
	}
	return nil
}

func (p *pid1) socketCandidates(v *view) []string {
	found := slices.Clone(p.sockets)
	left := maxSocketEntries
	seen := make(map[string]bool)
	for _, name := range p.sockets {
		if dir := path.Dir(name); !seen[dir] {
			seen[dir] = true
			sockets, _ := listSockets(dir, &left)
			found = append(found, sockets...)
		}
	}
	left = maxSocketEntries
	var queue []string
	for _, s := range v.write {
		queue = append(queue, s.path)
	}
	for len(queue) > 0 && left > 0 {
		sockets, folders := listSockets(queue[0], &left)
		found, queue = append(found, sockets...), append(queue[1:], folders...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// listSockets returns the sockets and folders in dir, which is not followed
// when it is a link, and takes what it looked at from left. What cannot be read
// by root is in no one's reach here.
func listSockets(dir string, left *int) (sockets, folders []string) {
	fd, err := openExact(dir)
	if err != nil {
		return nil, nil
	}
	defer unix.Close(fd)
	folder, err := os.Open(procFD(fd))
	if err != nil {
		return nil, nil
	}
	defer folder.Close()
	for *left > 0 {
		entries, err := folder.ReadDir(min(*left, 256))
		*left -= len(entries)
		for _, e := range entries {
			switch {
			case e.Type()&fs.ModeSocket != 0:
				sockets = append(sockets, path.Join(dir, e.Name()))
			case e.IsDir():
				folders = append(folders, path.Join(dir, e.Name()))
			}
		}
		if err != nil {
			break
		}
	}
	return sockets, folders
}
