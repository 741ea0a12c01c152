// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Stage is the helper's argv[0].
const Stage = "phantom-ns: mask"

// The helper's descriptors.
const (
	RequestFD = 3 // a pipe's read end: a Request, then a Session
	ReplyFD   = 4 // a pipe's write end: one Reply
)

// Main is the helper. It never returns. The supervisor starts it with the ids
// of the agent's user, so that a copy holds nothing which that user could not
// have read. Exit status: 0 when a reply was written; 125 otherwise, with one
// line on stderr. Confine takes from the process all but the right to read,
// before it reads.
func Main(confine func() error) {
	if err := serve(confine); err != nil {
		fmt.Fprintln(os.Stderr, Stage+":", err)
		os.Exit(125)
	}
	os.Exit(0)
}

func serve(confine func() error) error {
	// Before anything is read: execve made the process dumpable, and with that
	// readable by every process of its user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make helper undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch core files off: %w", err)
	}
	os.Clearenv()
	if err := confine(); err != nil {
		return err
	}
	told := json.NewDecoder(os.NewFile(RequestFD, "request"))
	var request Request
	if err := told.Decode(&request); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	found := look(request) // while the placeholders are made
	var session Session
	if err := told.Decode(&session); errors.Is(err, io.EOF) {
		return nil // there is no session, and the supervisor says why
	} else if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	reply := found.cover(credentials{session.Credentials, session.Placeholders})
	if err := json.NewEncoder(os.NewFile(ReplyFD, "reply")).Encode(reply); err != nil {
		return fmt.Errorf("write reply: %w", err)
	}
	return nil
}
