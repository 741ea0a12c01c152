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

// The refusals of sources, for errors.Is, of [ReadFacts] too. [ReadReply] has
// a [Refusal] with their text.
var (
	ErrAbsent    = errors.New("no such credential")
	ErrElsewhere = fmt.Errorf("%w there", ErrAbsent) // in a source that is not the store
	ErrAmbiguous = errors.New("more than one credential matches")
	ErrLocked    = errors.New("collection is locked")
	ErrUnset     = errors.New("variable is not set")
	ErrRoot      = errors.New("not as root: this source belongs to the invoking user")
	ErrUnsafe    = errors.New("unsafe owner or mode")
)

// timeout is the cause of a source's deadline; errors.Is finds
// context.DeadlineExceeded.
type timeout struct{ after time.Duration }

func (t timeout) Error() string        { return fmt.Sprintf("no answer within %s", t.after) }
func (t timeout) Is(target error) bool { return target == context.DeadlineExceeded }

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
	// AnyLength lets a value be shorter than MinLength, see CheckField.
	AnyLength bool `json:"any_length,omitempty"`
	// Credentials is the unit's $CREDENTIALS_DIRECTORY, for systemd: references.
	Credentials string `json:"credentials,omitempty"`
	// KeyFD is the helper's descriptor of the store's unsealed key, see
	// NewKeySlot; 0: none.
	KeyFD int `json:"key_fd,omitempty"`
	// Timeout is in nanoseconds on the wire; 0 is DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Value is the variable of an env: reference, as the supervisor found it
	// in its caller's environment. Empty: not set. Fetch takes it over: it is
	// returned, or wiped.
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
	ctx, cancel := context.WithTimeoutCause(ctx, env.Timeout, timeout{env.Timeout})
	defer cancel()
	if ref.AsUser() && euid == 0 {
		return Entry{}, fmt.Errorf("fetch credential %s: %w", ref, ErrRoot)
	}
	e, err := fetchKind(ctx, ref, env)
	if err == nil {
		err = env.check()(e.Value)
	}
	if err != nil {
		e.Value.Wipe()
		return Entry{}, fmt.Errorf("fetch credential %s: %w", ref, err)
	}
	return e, nil
}

func fetchKind(ctx context.Context, ref Ref, env Env) (Entry, error) {
	switch ref.kind {
	case KindStore:
		return within(ctx, func() (Entry, error) {
			s, err := env.open()
			if err != nil {
				return Entry{}, err
			}
			return s.Get(ref.args[0])
		})
	case KindEnv:
		if env.Value.Len() == 0 {
			return Entry{}, ErrUnset
		}
		return Entry{Value: env.Value}, nil
	}
	var source func() (Value, error)
	switch ref.kind {
	case KindFile:
		source = func() (Value, error) { return fetchFile(ref.args[0], env.UID) }
	case KindExec:
		source = func() (Value, error) { return fetchExec(ctx, ref.args, env) }
	case KindSecretService:
		source = func() (Value, error) { return fetchService(ctx, ref.args[0], ref.args[1], env) }
	case KindKeyring:
		source = func() (Value, error) { return fetchKeyring(ref.args[0], ref.args[1]) }
	case KindSystemd:
		source = func() (Value, error) { return fetchSystemd(ctx, ref.args[0], env) }
	default:
		return Entry{}, ErrUnsupported
	}
	return within(ctx, func() (Entry, error) {
		v, err := source()
		return Entry{Value: v}, err
	})
}

// grace is how long a source that knows of the deadline may take to tell its
// own, clearer reason.
const grace = 500 * time.Millisecond

// within runs source until ctx ends: open(2) and read(2) on a network or user
// file system may block for ever and cannot be told to stop. A value that
// comes too late is wiped.
func within(ctx context.Context, source func() (Entry, error)) (Entry, error) {
	type result struct {
		entry Entry
		err   error
	}
	done := make(chan result, 1)
	go func() {
		e, err := source()
		done <- result{e, err}
	}()
	select {
	case r := <-done:
		return r.entry, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.entry, r.err
	case <-time.After(grace):
		go func() { r := <-done; r.entry.Value.Wipe() }()
		return Entry{}, context.Cause(ctx)
	}
}

func (e Env) check() func(Value) error {
	if e.AnyLength {
		return CheckField
	}
	return Check
}

// bus is the address of the invoking user's session bus.
func (e Env) bus() string {
	if e.Bus != "" {
		return e.Bus
	}
	return fmt.Sprintf("unix:path=/run/user/%d/bus", e.UID)
}
