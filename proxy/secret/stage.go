// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stage is the helper's argv[0].
const Stage = "phantom-ns: secret"

// The helper's descriptors.
const (
	RequestFD = 3 // a pipe's read end: one Request
	ReplyFD   = 4 // a pipe's write end: one reply, for ReadReply
	FactsFD   = 5 // a pipe's write end: one line, for ReadFacts; may be missing
)

// Main is the helper: one request in, one reply out. It never returns. The
// supervisor starts it with the credentials that the reference asks for
// (root, or the invoking user where [Ref.AsUser] says so), and hands the other
// end of ReplyFD to the proxy unread. Exit status: 0 when a reply was written,
// a refusal included; 125 otherwise, with one line on stderr. Confine takes
// from the process what the request does not need, before it is looked at.
func Main(confine func(Needs) error) {
	if err := serve(confine); err != nil {
		fmt.Fprintln(os.Stderr, Stage+":", err)
		os.Exit(125)
	}
	os.Exit(0)
}

func serve(confine func(Needs) error) error {
	// An exec: program gets PDEATHSIG from this thread, and must not lose it
	// with a thread that the runtime retires.
	runtime.LockOSThread()
	// Before anything is read: execve made the process dumpable, and with that
	// readable by every process of its user.
	if err := hide(); err != nil {
		return err
	}
	facts := openFacts()
	request := os.NewFile(RequestFD, "request")
	answer := os.NewFile(ReplyFD, "reply")
	defer answer.Close()
	q, err := readRequest(request)
	request.Close()
	if err == nil {
		err = confine(q.needs())
	}
	if err == nil && q.Unlock {
		return servePassphrase(q, facts)
	}
	if err == nil && q.Terms != nil {
		return serveLease(q, answer)
	}
	var e Entry
	if err == nil {
		e, err = Fetch(context.Background(), q.Ref, q.Env)
		defer e.Value.Wipe()
	}
	// Facts first: a value may fill its pipe until the proxy reads it.
	if err := tellFacts(facts, e, err); err != nil {
		return err
	}
	err = writeReply(answer, e, err)
	if err == nil || errors.Is(err, unix.EPIPE) && facts != nil {
		// The facts were enough: the session has no use for the credential.
		return nil
	}
	return fmt.Errorf("write reply: %w", err)
}

// hide leaves nothing for a core file, a debugger or a child to find.
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make helper undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch core files off: %w", err)
	}
	os.Clearenv()
	return closeOnExec()
}

// closeOnExec keeps every descriptor but stdio from an exec: program, whoever
// left it open.
func closeOnExec() error {
	// The flag is of Linux 5.11, the call of 5.9.
	if unix.CloseRange(RequestFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("keep descriptors from children: %w", err)
	}
	for _, e := range entries {
		// The directory's own descriptor is listed and gone.
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= RequestFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
