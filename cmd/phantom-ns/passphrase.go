// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

var (
	errBadDescriptor = errors.New("not an open descriptor from 3 on")
	errNoTerminal    = errors.New("no terminal to ask at")
	errNotTheSame    = errors.New("the two are not the same")
)

const passphraseUsage = "read the store's passphrase from descriptor `N` instead of asking at the terminal"

// passphraseFile is the descriptor that a flag names; nil: none.
func passphraseFile(fd int) (*os.File, error) {
	if fd == 0 {
		return nil, nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd < 3 || err != nil {
		return nil, fmt.Errorf("passphrase: %d: %w", fd, errBadDescriptor)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "passphrase"), nil
}

// store opens the store; where it has a passphrase, with that.
func (e *env) store(fd int) (*secret.Store, error) {
	s := secret.NewStore("")
	from, err := passphraseFile(fd)
	if err != nil {
		return nil, err
	}
	// What else is wrong with the store, its reader says.
	if locked, err := s.Locked(); err != nil || !locked {
		return s, nil
	}
	phrase, err := askPassphrase(from, "Passphrase of the phantom-ns store: ")
	if err != nil {
		return nil, err
	}
	defer phrase.Wipe()
	return s, s.Unlock(phrase)
}

// askPassphrase reads from a descriptor, or at the terminal.
func askPassphrase(from *os.File, prompt string) (secret.Value, error) {
	if from == nil {
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return secret.Value{}, fmt.Errorf("%w: %w", secret.ErrPassphrase, errNoTerminal)
		}
		from = tty
	}
	defer from.Close()
	return secret.AskPassphrase(from, prompt)
}

func (e *env) secretPassphraseCommand() *cobra.Command {
	var fd, newFD int
	var remove bool
	cmd := &cobra.Command{
		Use:   "passphrase",
		Short: "Set, change or remove the passphrase of the store",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(*cobra.Command, []string) error { return e.secretPassphrase(fd, newFD, remove) },
	}
	cmd.Flags().IntVar(&fd, "passphrase-fd", 0, passphraseUsage)
	cmd.Flags().IntVar(&newFD, "new-passphrase-fd", 0, "read the new passphrase from descriptor `N` instead of asking at the terminal")
	cmd.Flags().BoolVar(&remove, "remove", false, "let the store be opened without a passphrase")
	return cmd
}

func (e *env) secretPassphrase(fd, newFD int, remove bool) error {
	if err := e.needRoot(); err != nil {
		return err
	}
	store, err := e.store(fd)
	if err != nil {
		return err
	}
	var next secret.Value
	if !remove {
		if next, err = newPassphrase(newFD); err != nil {
			return err
		}
		defer next.Wipe()
	}
	if err := store.SetPassphrase(next); err != nil {
		return err
	}
	if remove {
		e.say("the store has no passphrase now")
		return nil
	}
	e.say("the store has a passphrase now; what is running goes on without it")
	return nil
}

// newPassphrase asks twice where a person types.
func newPassphrase(fd int) (secret.Value, error) {
	from, err := passphraseFile(fd)
	if err != nil {
		return secret.Value{}, err
	}
	next, err := askPassphrase(from, "New passphrase: ")
	if err != nil || from != nil {
		return next, err
	}
	again, err := askPassphrase(nil, "The same again: ")
	defer again.Wipe()
	if err == nil && subtle.ConstantTimeCompare(next.Reveal(), again.Reveal()) != 1 {
		err = errNotTheSame
	}
	if err != nil {
		next.Wipe()
		return secret.Value{}, err
	}
	return next, nil
}
