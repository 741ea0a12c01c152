// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// ConfineMask leaves the helper that copies credential files the right to read
// them. What it reads an agent of before may have written.
func ConfineMask() error { return giveUp(0, helperFilter(secret.Needs{}), nil) }

// ConfineSecret leaves a helper that fetches a credential what this one needs.
// Who runs a program for it keeps everything: the program may be set-group-id,
// as 1Password's is, and the policy or the administrator named it.
func ConfineSecret(needs secret.Needs) error {
	if needs.Program {
		return nil
	}
	rules, err := storeRules(needs)
	if err != nil && !errors.Is(err, fence.ErrNoLandlock) {
		return err
	}
	return giveUp(helperCapabilities(needs), helperFilter(needs), rules)
}

// helperCapabilities are what root's helpers keep: to lock a store's worth of
// credentials in memory, for which kernels before 5.16 allow 64 KiB, and to read
// the invoking user's file.
func helperCapabilities(needs secret.Needs) uint64 {
	kept := uint64(1) << unix.CAP_IPC_LOCK
	if needs.Files {
		kept |= 1 << unix.CAP_DAC_READ_SEARCH
	}
	return kept
}

// storeRules leave the store's folder, or none; nil where any file may be read.
func storeRules(needs secret.Needs) (*fence.Ruleset, error) {
	if needs.Files {
		return nil, nil
	}
	rules, err := fence.NewRuleset(fence.Read|fence.Write|fence.Execute, 0)
	if err != nil || needs.Store == "" {
		return rules, err
	}
	rights := fence.Read
	if needs.Write {
		rights |= fence.Write
	}
	err = grant(rules, needs.Store, rights)
	if needs.Write && errors.Is(err, unix.ENOENT) { // it makes the folder
		err = grant(rules, filepath.Dir(needs.Store), rights)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, errors.Join(fmt.Errorf("let helper use %s: %w", needs.Store, err), rules.Close())
	}
	return rules, nil
}

// helperFilter is a helper's filter.
func helperFilter(needs secret.Needs) fence.Program {
	p := confinedFilter(unix.Getpid())
	p.Answer(fence.Allow, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID)
	if needs.Write {
		p.Answer(fence.Allow, unix.SYS_OPENAT, unix.SYS_FLOCK, unix.SYS_FSYNC, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT)
	} else {
		p.On(unix.SYS_OPENAT, onlyReading()...)
	}
	if needs.Bus {
		p.On(unix.SYS_SOCKET, fence.OneOf(fence.Arg0, []uint32{unix.AF_UNIX}, fence.Allow, fence.Deny(unix.EAFNOSUPPORT))...)
		p.Answer(fence.Allow, connectionCalls...)
	}
	if needs.Keyring {
		p.On(unix.SYS_KEYCTL, of(fence.Arg0, unix.KEYCTL_JOIN_SESSION_KEYRING, unix.KEYCTL_LINK, unix.KEYCTL_SEARCH, unix.KEYCTL_READ)...)
	}
	if needs.Terminal { // its echo
		p.On(unix.SYS_IOCTL, of(fence.Arg1, unix.TCGETS, unix.TCSETSF)...)
	}
	return endConfined(p)
}

// of is a block that lets these values of an argument pass.
func of(argument uint32, values ...uint32) []bpf.Instruction {
	return fence.OneOf(argument, values, fence.Allow, fence.Deny(unix.EPERM))
}
