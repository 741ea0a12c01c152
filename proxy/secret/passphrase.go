// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// The refusals of a store whose key is sealed with a passphrase.
var (
	ErrPassphrase      = errors.New("store is locked by a passphrase")
	ErrWrongPassphrase = errors.New("passphrase does not open the key of the store: another passphrase, or a damaged file")
)

// sealedKey is what a key begins with that is an age file (C2SP age, version 1)
// for one scrypt recipient: its plaintext is the key as it is otherwise.
var sealedKey = []byte("age-encryption.org/v1\n")

// Locked reports whether the store's key is sealed with a passphrase. It reads
// the beginning of the key alone, which is no part of it.
func (s *Store) Locked() (bool, error) {
	dir, err := openDirectory(s.directory)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	f, err := openAt(dir, keyFile, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := checkPrivate(f, 0, os.Geteuid()); err != nil {
		return false, err
	}
	first := make([]byte, len(sealedKey))
	if _, err := io.ReadFull(f, first); err != nil {
		return false, nil // an empty key is damaged, and no passphrase helps
	}
	return bytes.Equal(first, sealedKey), nil
}

// Unlock opens the key with its passphrase, which stays the caller's to wipe,
// and keeps it for the calls that follow: ErrWrongPassphrase where it does not
// open it.
func (s *Store) Unlock(phrase Value) error {
	err := s.unlock(phrase)
	if err != nil {
		return fmt.Errorf("unlock store %s: %w", s.directory, err)
	}
	return nil
}

func (s *Store) unlock(phrase Value) error {
	dir, err := openDirectory(s.directory)
	if err != nil {
		return err
	}
	defer dir.Close()
	sealed, err := readPrivate(dir, keyFile, maxKey)
	if err != nil {
		return err
	}
	open, err := unsealKey(sealed, phrase)
	if err != nil {
		return err
	}
	defer clear(open)
	s.key, err = parseIdentity(dir, open)
	return err
}

// SetPassphrase seals the key with phrase in place of what it was sealed with;
// an empty one leaves it unsealed. The store itself stays as it is, and so does
// the key: a copy of its file made before opens the store as it did.
func (s *Store) SetPassphrase(phrase Value) error {
	dir, err := openDirectory(s.directory)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrAbsent
	}
	if err != nil {
		return fmt.Errorf("set passphrase of %s: %w", s.directory, err)
	}
	defer dir.Close()
	if err := s.reseal(dir, phrase); err != nil {
		return fmt.Errorf("set passphrase of %s: %w", s.directory, err)
	}
	return nil
}

func (s *Store) reseal(dir *os.File, phrase Value) error {
	if err := lock(dir); err != nil {
		return err
	}
	// Whatever does not open the store does not replace its key.
	_, key, err := s.load(dir, false)
	if err != nil {
		return err
	}
	text := keyText(key)
	defer clear(text)
	if phrase.Len() == 0 {
		return s.replace(dir, keyFile, text)
	}
	sealed, err := sealKey(text, phrase, s.work)
	if err != nil {
		return err
	}
	return s.replace(dir, keyFile, sealed)
}

func sealKey(text []byte, phrase Value, work int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(phrase.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	if work != 0 {
		recipient.SetWorkFactor(work)
	}
	var sealed bytes.Buffer
	plain, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = plain.Write(text)
	}
	if err == nil {
		err = plain.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return sealed.Bytes(), nil
}

func unsealKey(sealed []byte, phrase Value) ([]byte, error) {
	if !bytes.HasPrefix(sealed, sealedKey) {
		return nil, fmt.Errorf("unseal key: no passphrase is set: %w", ErrDamaged)
	}
	identity, err := age.NewScryptIdentity(string(phrase.Reveal()))
	if err != nil {
		return nil, ErrWrongPassphrase // an empty one
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrWrongPassphrase
	}
	var open []byte
	if err == nil {
		open, err = io.ReadAll(io.LimitReader(plain, maxKey))
	}
	if err != nil {
		clear(open)
		return nil, fmt.Errorf("unseal key: %w", ErrDamaged)
	}
	return open, nil
}

// NewKeySlot makes memory for an unsealed key that one process fills and others
// read: a session's helpers, long after somebody typed the passphrase. Who holds
// the descriptor alone has not got it mapped. It is memory of memfd_secret where
// the kernel has it, which is neither swapped nor dumped; else of memfd_create,
// which may be swapped.
func NewKeySlot() (*os.File, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		fd, err = unix.MemfdCreate("phantom-ns-key", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make memory for a key: %w", err)
	}
	slot := os.NewFile(uintptr(fd), "key slot")
	if err := unix.Ftruncate(fd, int64(os.Getpagesize())); err != nil {
		slot.Close()
		return nil, fmt.Errorf("make memory for a key: %w", err)
	}
	return slot, nil
}

// mapSlot maps a slot; the caller unmaps it.
func mapSlot(slot *os.File) ([]byte, error) {
	text, err := unix.Mmap(int(slot.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map key: %w", err)
	}
	return text, nil
}

// lend puts the key that was unlocked into a slot.
func (s *Store) lend(slot *os.File) error {
	text, err := mapSlot(slot)
	if err != nil {
		return err
	}
	defer unix.Munmap(text)
	line := keyText(s.key)
	defer clear(line)
	copy(text, line)
	return nil
}

// borrow takes the key from a slot.
func (s *Store) borrow(slot *os.File) error {
	text, err := mapSlot(slot)
	if err != nil {
		return err
	}
	defer unix.Munmap(text)
	s.key, err = parseIdentity(slot, bytes.TrimRight(text, "\x00"))
	return err
}
