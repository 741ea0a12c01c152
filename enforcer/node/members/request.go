// SPDX-License-Identifier: Apache-2.0

package members

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// Policies is the folder of the policies that a member may name.
const Policies = "/etc/phantom-ns/policies"

// What a member may want.
const (
	DoRun  = ""     // a session; its working directory comes beside it, as a descriptor
	DoExec = "exec" // a program in one of theirs, which answers itself
	DoList = "ps"   // to know theirs, as JSON on stdout
	DoStop = "stop" // an end of theirs
)

// Request is what a member wants.
type Request struct {
	Do       string        `json:",omitempty"`
	Sessions []string      `json:",omitempty"` // of exec, one, and stop: the beginnings of ids
	Timeout  time.Duration `json:",omitempty"` // of stop
	Term     string        `json:",omitempty"` // of exec: TERM of the member's terminal

	Command []string // of run and exec
	Env     []string // the member's

	Policy  string // a name; "": the administrator's default
	Profile string
	User    string
	With    []string
	Login   []string
	Allow   []string
	Write   []string

	Passphrase bool // a descriptor was named
	Attended   bool // a person reads what is said
	Terminal   bool // the member's process has a controlling terminal
}

// bytesLimit bounds arguments and environment, each, in bytes. The kernel takes
// 2 MiB of both together where the stack is of the usual 8 MiB (execve(2)).
const bytesLimit = 1 << 20

// What a member may not ask for.
var (
	ErrBadRequest = errors.New("not a request of a member's")
	ErrOwnPolicy  = errors.New("members run with the administrator's policies, by name")
	ErrWidens     = errors.New("members do not widen the administrator's policy")
	ErrOtherUser  = errors.New("members run agents as themselves")
	ErrPassphrase = errors.New("members do not open a store that has a passphrase")
)

// ParseRequest decodes and bounds a request.
func ParseRequest(text json.RawMessage) (r Request, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := r.checkShape(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	for _, list := range [][]string{r.Command, r.Env, r.Write} {
		total := 0
		for _, text := range list {
			total += len(text) + 1
			if strings.IndexByte(text, 0) >= 0 {
				return r, fmt.Errorf("%w: a zero byte", ErrBadRequest)
			}
		}
		if total > bytesLimit {
			return r, fmt.Errorf("%w: longer than %d bytes", ErrBadRequest, bytesLimit)
		}
	}
	return r, nil
}

// maxSessions is how many a member may name at once: as many as they may have.
const maxSessions = sessionsOfOne

// MaxTimeout is how long an agent may be given to end.
const MaxTimeout = time.Hour

// checkShape holds that there is what the errand needs.
func (r Request) checkShape() error {
	ends, enters := r.Do == DoStop, r.Do == DoExec
	switch {
	case !ends && !enters && r.Do != DoRun && r.Do != DoList:
		return fmt.Errorf("nothing is called %.20q", r.Do)
	case (r.Do == DoRun || enters) && len(r.Command) == 0:
		return errors.New("no command")
	case enters && len(r.Sessions) != 1, ends && (len(r.Sessions) == 0 || len(r.Sessions) > maxSessions):
		return fmt.Errorf("%d sessions", len(r.Sessions))
	case r.Timeout < 0 || r.Timeout > MaxTimeout:
		return fmt.Errorf("%v to end", r.Timeout)
	}
	return nil
}

// Check refuses what would widen what the administrator's policy says. What a
// member's agent may write is the member's own, and is not asked here.
func (r Request) Check(u enforcer.User) error {
	switch {
	case r.User != "" && r.User != u.Name && r.User != fmt.Sprint(u.UID):
		return fmt.Errorf("--user %q: %w", r.User, ErrOtherUser)
	case r.Policy != "" && !api.ValidPolicy(r.Policy):
		return fmt.Errorf("--policy %q: %w", r.Policy, ErrOwnPolicy)
	case r.Passphrase:
		return fmt.Errorf("--passphrase-fd: %w", ErrPassphrase)
	}
	for _, f := range []struct {
		name   string
		values []string
	}{{"--with", r.With}, {"--login", r.Login}, {"--allow", r.Allow}} {
		if len(f.values) > 0 {
			return fmt.Errorf("%s %q: %w", f.name, f.values[0], ErrWidens)
		}
	}
	return nil
}

// Directory is the path of the folder that the member's process is in, which
// the member must be able to reach by it. A folder of another mount namespace,
// or that was removed, has none.
func Directory(folder *os.File, invoker enforcer.Invoker) (string, error) {
	fd := int(folder.Fd())
	var passed unix.Stat_t
	if err := unix.Fstat(fd, &passed); err != nil || passed.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", fmt.Errorf("working directory: %w", unix.ENOTDIR)
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || !filepath.IsAbs(name) {
		return "", fmt.Errorf("working directory %q: %w", name, unix.ENOENT)
	}
	reached, err := invoker.StatFolder(name)
	if err != nil {
		return "", fmt.Errorf("working directory %q: %w", name, err)
	}
	if reached.Dev != passed.Dev || reached.Ino != passed.Ino {
		return "", fmt.Errorf("working directory %q: another one has its place: %w", name, unix.ESTALE)
	}
	return name, nil
}

// Reachable refuses paths that the member could not reach, and says of none
// whether it is there.
func Reachable(paths []string, dir, home string, invoker enforcer.Invoker) error {
	for _, name := range paths {
		place := name
		if rest, ok := strings.CutPrefix(name, "~"); ok && (rest == "" || rest[0] == '/') {
			place = home + rest
		}
		if !filepath.IsAbs(place) {
			place = filepath.Join(dir, place)
		}
		if err := invoker.MayReach(place); err != nil {
			return fmt.Errorf("--write %q: %w", name, err)
		}
	}
	return nil
}
