// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
)

const (
	storeFile = "store.age"
	keyFile   = "key"
	// maxKey is more than an identity with a comment before it needs, in bytes.
	maxKey = 1024
)

// index is the first line of the plaintext; the values follow in its order.
type index struct {
	Version int         `json:"version"`
	Entries []indexItem `json:"entries"`
}

type indexItem struct {
	Name     string    `json:"name"`
	Hosts    []string  `json:"hosts,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Created  time.Time `json:"created"`
	Length   int       `json:"length"`
}

const storeVersion = 1

// read needs no lock: a store is replaced by one rename, and so is the file of
// its key, which stays the same key.
func (s *Store) read(keep func(name string) bool) (map[string]Entry, error) {
	dir, err := openDirectory(s.directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	sealed, err := readPrivate(dir, storeFile, maxStore)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	key, err := s.readKey(dir)
	if err != nil {
		return nil, err
	}
	return unseal(sealed, key, keep)
}

// change reads, edits and replaces the store under its lock. Whatever it cannot
// read it does not write.
func (s *Store) change(create bool, edit func(map[string]Entry) error) error {
	dir, err := openDirectory(s.directory)
	if errors.Is(err, fs.ErrNotExist) && create {
		dir, err = makeDirectory(s.directory)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return ErrAbsent
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := lock(dir); err != nil {
		return err
	}
	entries, key, err := s.load(dir, create)
	if err != nil {
		return err
	}
	loaded := slices.Collect(maps.Values(entries))
	defer func() {
		for _, e := range loaded {
			e.Value.Wipe()
		}
	}()
	if err := edit(entries); err != nil {
		return err
	}
	sealed, err := seal(entries, key)
	if err != nil {
		return err
	}
	return s.replace(dir, storeFile, sealed)
}

// load reads everything. Only where there is neither store nor key does it
// make a key: a store whose key is gone is not to be started over.
func (s *Store) load(dir *os.File, create bool) (map[string]Entry, *age.X25519Identity, error) {
	sealed, err := readPrivate(dir, storeFile, maxStore)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return nil, nil, err
	}
	if absent && !create {
		return nil, nil, ErrAbsent
	}
	key, err := s.readKey(dir)
	if absent && errors.Is(err, ErrNoKey) {
		key, err = s.makeKey(dir)
	}
	if err != nil || absent {
		return map[string]Entry{}, key, err
	}
	entries, err := unseal(sealed, key, func(string) bool { return true })
	return entries, key, err
}

// unseal decrypts and decodes all of it, so that a byte flipped anywhere is
// noticed, and returns the values keep asks for, the others empty.
func unseal(sealed []byte, key *age.X25519Identity, keep func(string) bool) (map[string]Entry, error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), key)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrKey
	}
	if err != nil {
		// Not %w, here and below: which byte age stumbled over helps no one.
		return nil, fmt.Errorf("decrypt %s: %w", storeFile, ErrDamaged)
	}
	var x index
	if err := readHeader(plain, &x, maxIndex); err != nil {
		return nil, fmt.Errorf("decrypt %s: %w", storeFile, ErrDamaged)
	}
	if x.Version > storeVersion {
		return nil, fmt.Errorf("read %s: %w (%d)", storeFile, ErrVersion, x.Version)
	}
	entries := make(map[string]Entry, len(x.Entries))
	err = readValues(plain, x.Entries, keep, entries)
	if err == nil {
		err = readEnd(plain)
	}
	if err != nil {
		for _, e := range entries {
			e.Value.Wipe()
		}
		if !errors.Is(err, ErrFrame) {
			return nil, err
		}
		return nil, fmt.Errorf("decrypt %s: %w", storeFile, ErrDamaged)
	}
	return entries, nil
}

func readValues(plain io.Reader, items []indexItem, keep func(string) bool, entries map[string]Entry) error {
	for _, item := range items {
		v, err := readBody(plain, item.Length)
		if err != nil {
			return err
		}
		if !keep(item.Name) {
			v.Wipe()
			v = Value{}
		}
		entries[item.Name] = Entry{v, item.Hosts, item.Provider, item.Created}
	}
	return nil
}

func seal(entries map[string]Entry, key *age.X25519Identity) ([]byte, error) {
	x := index{Version: storeVersion}
	names := slices.Sorted(maps.Keys(entries))
	for _, name := range names {
		e := entries[name]
		x.Entries = append(x.Entries, indexItem{name, e.Hosts, e.Provider, e.Created, e.Value.Len()})
	}
	var sealed bytes.Buffer
	plain, err := age.Encrypt(&sealed, key.Recipient())
	if err != nil {
		return nil, fmt.Errorf("encrypt %s: %w", storeFile, err)
	}
	if err := writeHeader(plain, x, maxIndex); err != nil {
		return nil, fmt.Errorf("%w: index beyond %d bytes", ErrFull, maxIndex)
	}
	for _, name := range names {
		if _, err := plain.Write(entries[name].Value.Reveal()); err != nil {
			return nil, fmt.Errorf("encrypt %s: %w", storeFile, err)
		}
	}
	if err := plain.Close(); err != nil {
		return nil, fmt.Errorf("encrypt %s: %w", storeFile, err)
	}
	if sealed.Len() > maxStore {
		return nil, fmt.Errorf("%w: beyond %d bytes", ErrFull, maxStore)
	}
	return sealed.Bytes(), nil
}

func (s *Store) readKey(dir *os.File) (*age.X25519Identity, error) {
	text, err := readPrivate(dir, keyFile, maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoKey
	}
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if !bytes.HasPrefix(text, sealedKey) {
		return parseIdentity(dir, text)
	}
	if s.key == nil {
		return nil, ErrPassphrase
	}
	return s.key, nil
}

// parseIdentity reads the identity in the text of a file of dir's.
func parseIdentity(dir *os.File, text []byte) (*age.X25519Identity, error) {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		if key, err := age.ParseX25519Identity(string(line)); err == nil {
			return key, nil
		}
		break
	}
	// Without age's own reason, which quotes letters of the key.
	return nil, fmt.Errorf("parse %q: %w", filepath.Join(dir.Name(), keyFile), ErrDamaged)
}

func (s *Store) makeKey(dir *os.File) (*age.X25519Identity, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	text := keyText(key)
	defer clear(text)
	return key, s.replace(dir, keyFile, text)
}

// keyText is what parseIdentity reads.
func keyText(key *age.X25519Identity) []byte {
	return []byte("# phantom-ns store, public key: " + key.Recipient().String() + "\n" + key.String() + "\n")
}
