// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kinds are the namespaces of which the session has its own.
var kinds = []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"}

// namespaces reads the inodes of a task's namespaces from dir, its ns folder.
func namespaces(dir string) (map[string]uint64, error) {
	all := make(map[string]uint64, len(kinds))
	for _, kind := range kinds {
		var st unix.Stat_t
		if err := unix.Stat(dir+"/"+kind, &st); err != nil {
			return nil, fmt.Errorf("read namespace %s: %w", kind, err)
		}
		all[kind] = st.Ino
	}
	return all, nil
}

// unixSockets lists the host's unix sockets, those of the reader's network
// namespace (proc(5)).
const unixSockets = "/proc/self/net/unix"

// elsewhere are the folders of which the session has its own, so that sockets
// below them are out of reach.
var elsewhere = []string{"/run/", "/var/run/", "/dev/", "/proc/", "/sys/"}

// hostSockets lists the pathname sockets that are bound on the host and that
// the agent might see.
func hostSockets() ([]string, error) {
	table, err := os.ReadFile(unixSockets)
	if err != nil {
		return nil, fmt.Errorf("list unix sockets: %w", err)
	}
	return parseSockets(string(table)), nil
}

// parseSockets finds the absolute paths in the table, each once. A line is
// seven columns and then, for a bound socket, its path, which may hold spaces.
func parseSockets(table string) []string {
	var all []string
	seen := make(map[string]bool)
	for line := range strings.Lines(table) {
		at := strings.IndexByte(line, '/')
		if at < 1 {
			continue
		}
		path := strings.TrimSuffix(line[at:], "\n")
		abstract := line[at-1] != ' '
		if abstract || seen[path] || hasAnyPrefix(path, elsewhere) {
			continue
		}
		seen[path] = true
		all = append(all, path)
	}
	return all
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
