// SPDX-License-Identifier: Apache-2.0

// Package mountinfo reads the mounts of a process's namespace, as the kernel
// lists them (proc_pid_mountinfo(5)).
//
// It guarantees that a list is whole: a line that is not understood is an error
// and no mount that is left out.
package mountinfo

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line.
type Mount struct {
	ID      uint64
	Device  string // major:minor
	Root    string // what of the filesystem is mounted
	Path    string
	Flags   uintptr // MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC
	Shared  bool    // what is mounted below it appears in other namespaces
	Kind    string  // of filesystem
	Options string  // of the filesystem, with commas: its controllers for a cgroup of v1
}

// flags are the options that a remount must repeat, as it clears the ones that
// it does not name; access times it keeps.
var flags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
}

// Read lists the mounts that the calling thread sees.
func Read() ([]Mount, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return Parse(string(text))
}

// Parse reads a list.
func Parse(text string) ([]Mount, error) {
	var all []Mount
	for line := range strings.Lines(text) {
		m, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("parse mount %q: %w", line, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func parseLine(line string) (m Mount, err error) {
	place, source, _ := strings.Cut(line, " - ") // optional fields end there
	fields := strings.Fields(place)
	of := strings.SplitN(source, " ", 3) // the second, the device, may be empty
	if len(fields) < 6 || len(of) != 3 {
		return m, unix.EBADMSG
	}
	if m.ID, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return m, err
	}
	m.Device, m.Root, m.Path = fields[2], unescape(fields[3]), unescape(fields[4])
	m.Kind, m.Options = of[0], of[2]
	for option := range strings.SplitSeq(fields[5], ",") {
		m.Flags |= flags[option]
	}
	for _, field := range fields[6:] {
		m.Shared = m.Shared || strings.HasPrefix(field, "shared:")
	}
	return m, nil
}

// escapes are what the kernel writes for the characters that separate fields.
var escapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")

func unescape(path string) string { return escapes.Replace(path) }
