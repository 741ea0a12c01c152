// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"filippo.io/age"
)

// Directory is where the store lives: root's, mode 0700.
//
//	/var/lib/phantom-ns/             locked (flock) by whoever writes
//	├── key            0600          age X25519 identity, made by the first Set; where a
//	│                               passphrase is set, an age file (scrypt) of it
//	├── store.age      0600          every entry, encrypted to that key
//	└── *.new          0600          what a crash left; the next write removes it
const Directory = "/var/lib/phantom-ns"

// The store's own refusals. After each of them it is as it was before.
var (
	ErrNoKey   = errors.New("key of the store is missing")
	ErrKey     = errors.New("key does not open the store: another key, or a damaged file")
	ErrDamaged = errors.New("damaged or not what was expected")
	ErrVersion = errors.New("written by a newer version")
	ErrFull    = errors.New("no room in the store")
)

const (
	// maxStore is the size of store.age that is read or written, in bytes.
	maxStore = 16 << 20
	// maxIndex is the size of its line of JSON.
	maxIndex = 1 << 20
	// MaxHosts is how many hosts an entry may have, each of at most 253 bytes.
	MaxHosts = 64
)

// Store is the encrypted store in one directory. It keeps nothing open and,
// but for a key that was unlocked, nothing in memory between calls; separate
// processes may use it together.
// The directory and the files must belong to the effective uid and be closed
// to everyone else.
type Store struct {
	directory string
	key       *age.X25519Identity // not nil: was unlocked
	work      int                 // scrypt's, as log2; 0: age's own
	// reached is called at each step of a write, for a test to crash there.
	reached func(step string)
}

// NewStore names a store; it does not touch it. Empty is [Directory].
func NewStore(directory string) *Store {
	if directory == "" {
		directory = Directory
	}
	return &Store{directory: directory, reached: func(string) {}}
}

// Listing is an entry without its value.
type Listing struct {
	Name     string    `json:"name"`
	Hosts    []string  `json:"hosts"`
	Provider string    `json:"provider,omitempty"`
	Created  time.Time `json:"created"`
}

// Set adds or replaces one entry, and makes directory and key where there are
// none. A zero Created becomes now. The value must pass [Check] and stays the
// caller's to wipe.
func (s *Store) Set(name string, e Entry) error {
	err := checkEntry(name, e)
	if err == nil {
		if e.Created.IsZero() {
			e.Created = time.Now().UTC().Truncate(time.Second)
		}
		err = s.change(true, func(entries map[string]Entry) error {
			entries[name] = e
			return nil
		})
	}
	return s.wrap("set", name, err)
}

// Remove deletes one entry: ErrAbsent when there is none.
func (s *Store) Remove(name string) error {
	return s.wrap("remove", name, s.change(false, func(entries map[string]Entry) error {
		if _, found := entries[name]; !found {
			return ErrAbsent
		}
		delete(entries, name)
		return nil
	}))
}

// Get reads one entry: ErrAbsent when there is none. The value is the caller's
// to wipe.
func (s *Store) Get(name string) (Entry, error) {
	entries, err := s.read(func(n string) bool { return n == name })
	if err != nil {
		return Entry{}, s.wrap("get", name, err)
	}
	e, found := entries[name]
	if !found {
		return Entry{}, s.wrap("get", name, ErrAbsent)
	}
	return e, nil
}

// List tells all entries, sorted by name, and no values. A store that does not
// exist is empty.
func (s *Store) List() ([]Listing, error) {
	entries, err := s.read(func(string) bool { return false })
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	list := make([]Listing, 0, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		list = append(list, Listing{name, e.Hosts, e.Provider, e.Created})
	}
	return list, nil
}

func (s *Store) wrap(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s credential %q in %s: %w", verb, oneLine(name, 64), s.directory, err)
}

// checkEntry refuses what the index could not hold. What a host is, the policy
// decides.
func checkEntry(name string, e Entry) error {
	if !storeName().MatchString(name) {
		return errors.New("a name has a-z 0-9 . _ - and at most 63 letters")
	}
	if e.Provider != "" && !storeName().MatchString(e.Provider) {
		return fmt.Errorf("provider %q: not a name", oneLine(e.Provider, 64))
	}
	if len(e.Hosts) > MaxHosts {
		return fmt.Errorf("%w: more than %d hosts", ErrFull, MaxHosts)
	}
	for _, host := range e.Hosts {
		if !plausibleHost(host) {
			return fmt.Errorf("host %q: not a host name", oneLine(host, 64))
		}
	}
	return Check(e.Value)
}

func plausibleHost(host string) bool {
	// RFC 1035, section 2.3.4: 255 octets on the wire are 253 in text.
	if host == "" || len(host) > 253 {
		return false
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
