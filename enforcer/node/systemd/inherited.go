// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is where inherited descriptors begin (SD_LISTEN_FDS_START).
const firstFD = 3

// maxInherited bounds what is taken at its word: the kernel's own bound of
// descriptors (fs.nr_open) by default.
const maxInherited = 1 << 20

// File is a descriptor that the manager passed, and its name there.
type File struct {
	Name string
	*os.File
}

// Inherited takes the descriptors that the manager passed to this process:
// sockets that it listens on for us, and what was stored. It closes them for
// processes that we start. $LISTEN_PID keeps a child from taking what was not
// meant for it.
func Inherited(getenv func(string) string) ([]File, error) {
	if pid, err := strconv.Atoi(getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	count, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || count < 0 || count > maxInherited {
		return nil, fmt.Errorf("take inherited descriptors: LISTEN_FDS is %q", getenv("LISTEN_FDS"))
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	files := make([]File, 0, count)
	for i := range count {
		unix.CloseOnExec(firstFD + i)
		name := "unknown" // as sd_listen_fds_with_names says
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		f := os.NewFile(uintptr(firstFD+i), name)
		if f == nil {
			return nil, fmt.Errorf("take inherited descriptors: %d is none", firstFD+i)
		}
		files = append(files, File{name, f})
	}
	return files, nil
}
