// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// DefaultTimeout is how long a source may take when Env.Timeout is 0.
const DefaultTimeout = 10 * time.Second

// The refusals of sources, for errors.Is. They do not cross the pipe: there a
// [Refusal] has their text.
var (
	ErrAbsent    = errors.New("no such credential")
	ErrAmbiguous = errors.New("more than one credential matches")
	ErrLocked    = errors.New("collection is locked")
	ErrUnset     = errors.New("variable is not set")
	ErrRoot      = errors.New("not as root: this source belongs to the invoking user")
	ErrUnsafe    = errors.New("unsafe owner or mode")
)

// Env is what a source may know of its surroundings. The process's own
// environment is never looked at.
type Env struct {
	// UID and GID are the invoking user's; User and Home are that user's too
	// and are all that an exec: program learns.
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	User string `json:"user,omitempty"`
	Home string `json:"home,omitempty"`
	// Directory holds the store; empty is the package's own Directory.
	Directory string `json:"directory,omitempty"`
	// Bus is the D-Bus address for secret-service: and exec: references, of
	// the unix: transport; empty is unix:path=/run/user/UID/bus.
	Bus string `json:"bus,omitempty"`
	// Timeout is in nanoseconds on the wire; 0 is DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Value is the variable of an env: reference, as the supervisor found it
	// in its caller's environment. Empty: not set.
	Value Value `json:"-"`
}

// Fetch obtains the credential that ref names, within Env.Timeout and ctx, and
// checks it. Errors name ref and never hold a byte of the value.
func Fetch(ctx context.Context, ref Ref, env Env) (Entry, error) {
	return fetch(ctx, ref, env, os.Geteuid())
}

// fetch has the effective uid as a parameter, so that tests tell what is done
// as root and what is not.
func fetch(ctx context.Context, ref Ref, env Env, euid int) (Entry, error) {
	if env.Timeout <= 0 {
		env.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, env.Timeout)
	defer cancel()
	if ref.AsUser() && euid == 0 {
		return Entry{}, fmt.Errorf("fetch credential %s: %w", ref, ErrRoot)
	}
	e, err := fetchKind(ctx, ref, env)
	if err == nil {
		err = Check(e.Value)
	}
	if err != nil {
		e.Value.Wipe()
		return Entry{}, fmt.Errorf("fetch credential %s: %w", ref, err)
	}
	return e, nil
}

func fetchKind(ctx context.Context, ref Ref, env Env) (e Entry, err error) {
	switch ref.kind {
	case KindEnv:
		if env.Value.Len() == 0 {
			return Entry{}, ErrUnset
		}
		return Entry{Value: env.Value}, nil
	}
	return Entry{}, ErrUnsupported
}
