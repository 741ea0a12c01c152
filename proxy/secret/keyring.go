// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// fetchKeyring reads a key of the user's keyring (@u), or of the user's session
// keyring (@us), as `keyctl add user DESCRIPTION … @u` makes one: user-keyring(7),
// user-session-keyring(7). It never asks the kernel to make a key
// (request_key(2) would run a program of the host's).
func fetchKeyring(kind, description string) (Value, error) {
	// A key is readable to who possesses it: who reaches it from its own session
	// keyring. That keyring belongs to a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		return Value{}, fmt.Errorf("join session keyring: %w", err)
	}
	for _, ring := range []int{unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_USER_SESSION_KEYRING} {
		if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, ring, unix.KEY_SPEC_SESSION_KEYRING, 0, 0); err != nil {
			return Value{}, fmt.Errorf("link keyring of the user: %w", err)
		}
	}
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, kind, description, 0)
	switch {
	case errors.Is(err, unix.ENOKEY):
		return Value{}, ErrElsewhere
	case err != nil: // EKEYEXPIRED, EKEYREVOKED say what they mean
		return Value{}, fmt.Errorf("search keyrings: %w", err)
	}
	return readKeyring(id)
}

// readKeyring reads the key's payload straight into locked memory.
func readKeyring(id int) (Value, error) {
	const limit = MaxLength + len("\r\n")
	m, err := allocate(limit + 1)
	if err != nil {
		return Value{}, err
	}
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, m.data, 0)
	if err == nil && n > limit {
		err = ErrLong
	}
	if err != nil {
		m.wipe()
		return Value{}, fmt.Errorf("read key: %w", err)
	}
	m.length = n
	v := Value{m}
	v.trimNewline()
	return v, nil
}
