// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// tailSeedFile holds this machine's seed for the ends of placeholders.
const tailSeedFile = "tail-seed"

// tailSeeds derives one seed for each credential of one user. Some clients
// ask their user once to approve a key and know it again by its end, so that
// end has to be the same in every session. It is not what keeps a placeholder
// from being guessed: the random part before it is.
func tailSeeds(u User, spec *policy.Session) (map[string][]byte, error) {
	if len(spec.Credentials) == 0 {
		return nil, nil
	}
	machine, err := machineSeed(filepath.Join(secret.Directory, tailSeedFile))
	if err != nil {
		return nil, fmt.Errorf("placeholder seed: %w", err)
	}
	seeds := make(map[string][]byte, len(spec.Credentials))
	for _, c := range spec.Credentials {
		mac := hmac.New(sha256.New, machine)
		mac.Write([]byte(strconv.Itoa(u.UID) + "\x00" + c.Name))
		seeds[c.Name] = mac.Sum(nil)
	}
	return seeds, nil
}

const seedSize = 32

// machineSeed reads the seed, and makes it at the first use.
func machineSeed(path string) ([]byte, error) {
	seed, err := readSeed(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return seed, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	seed = make([]byte, seedSize)
	rand.Read(seed) // never returns an error since Go 1.24
	// Written whole under another name first: a second session must find all
	// of it or nothing.
	fresh, err := os.CreateTemp(filepath.Dir(path), "."+tailSeedFile+"-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(fresh.Name())
	_, err = fresh.Write(seed)
	if err := errors.Join(err, fresh.Close()); err != nil {
		return nil, err
	}
	err = os.Link(fresh.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return readSeed(path)
	}
	return seed, err
}

func readSeed(path string) ([]byte, error) {
	seed, err := os.ReadFile(path)
	if err == nil && len(seed) != seedSize {
		err = fmt.Errorf("%s: %d bytes instead of %d; remove it to have a new one made", path, len(seed), seedSize)
	}
	return seed, err
}
