// SPDX-License-Identifier: Apache-2.0

package fence

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights over files, as sets of LANDLOCK_ACCESS_FS_* (landlock(7)).
const (
	Read    uint64 = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	Execute uint64 = unix.LANDLOCK_ACCESS_FS_EXECUTE
	// Write is also to open a FIFO for writing, which a read-only mount does not
	// forbid.
	Write uint64 = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | change
	// Connect is to a pathname socket that was made outside.
	Connect uint64 = unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	change = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM

	// ofFolders are rights that only a folder can be granted.
	ofFolders = change | unix.LANDLOCK_ACCESS_FS_READ_DIR
)

// Scopes are what a process reaches only inside its own domain: abstract unix
// sockets and signals.
const Scopes uint64 = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL

// leastABI is the first version with LANDLOCK_ACCESS_FS_REFER (Linux 5.19).
// Before it every rule forbids to move a file from one folder to another, which
// programs do all the time.
const leastABI = 2

// since lists the rights that came after leastABI.
var since = []struct {
	abi    int
	rights uint64
}{
	{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE},     // 6.2
	{9, unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX}, // 7.1
}

// scopesABI is the first version with scopes (Linux 6.12).
const scopesABI = 6

// ErrNoLandlock is returned where the kernel has no Landlock that can be used.
var ErrNoLandlock = errors.New("the kernel has no usable Landlock")

// Ruleset is what will stay allowed. Its methods are for one goroutine.
type Ruleset struct {
	fd     int
	rights uint64
	scopes uint64
}

// ABI is the version of the kernel's Landlock, 0 where it has none or it is
// switched off. Any other answer is an error, and no reason to go without.
func ABI() (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		return int(version), nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return 0, nil
	}
	return 0, fmt.Errorf("ask for Landlock: %w", errno)
}

// NewRuleset makes rules by which rights have to be granted, and the scopes are
// in force, as far as the kernel knows them. An error is ErrNoLandlock where it
// knows none.
func NewRuleset(rights, scopes uint64) (*Ruleset, error) {
	abi, err := ABI()
	if err != nil {
		return nil, err
	}
	if abi < leastABI {
		return nil, ErrNoLandlock
	}
	for _, s := range since {
		if abi < s.abi {
			rights &^= s.rights
		}
	}
	if abi < scopesABI {
		scopes = 0
	}
	if rights == 0 && scopes == 0 {
		return nil, ErrNoLandlock
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: rights, Scoped: scopes}
	// A kernel takes a longer struct than it knows when the rest is zero.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return nil, fmt.Errorf("make ruleset: %w", errno)
	}
	return &Ruleset{fd: int(fd), rights: rights, scopes: scopes}, nil
}

// Grant allows what of rights the rules are about at, and below, what fd is.
func (r *Ruleset) Grant(fd int, rights uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if rights &= r.rights; st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &^= ofFolders
	}
	if rights == 0 {
		return nil
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("grant: %w", errno)
	}
	return nil
}

// Restrict puts the rules on the calling thread, and so on what it starts.
//
// Preconditions: no_new_privs is set; the goroutine is locked to its thread.
func (r *Ruleset) Restrict() error {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); errno != 0 {
		return fmt.Errorf("restrict: %w", errno)
	}
	return nil
}

// RestrictAll puts the rules on every thread of the process, each in a domain
// of its own: scopes would part them, so there must be none.
//
// Preconditions: no_new_privs is set on all threads; cgo is off.
func (r *Ruleset) RestrictAll() error {
	if r.scopes != 0 {
		return fmt.Errorf("restrict all threads: scopes: %w", unix.EINVAL)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); errno != 0 {
		return fmt.Errorf("restrict all threads: %w", errno)
	}
	return nil
}

// Close gives the rules up; where they are in force they stay so.
func (r *Ruleset) Close() error { return unix.Close(r.fd) }
