// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

// untouched runs every operation against a store that must not open, and
// proves that no file changed.
func untouched(t *testing.T, s *Store, c canary, want error) {
	t.Helper()
	before := snapshot(t, s)
	_, getErr := s.Get("openai")
	_, listErr := s.List()
	for verb, err := range map[string]error{
		"get": getErr, "list": listErr, "remove": s.Remove("openai"), "set": s.Set("openai", Entry{Value: newCanary(t).value(t)}),
	} {
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", verb, err, want)
			continue
		}
		c.absent(t, err.Error())
	}
	if after := snapshot(t, s); after != before {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
}

func snapshot(t *testing.T, s *Store) string {
	t.Helper()
	entries, err := os.ReadDir(s.directory)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(s.directory, e.Name()))
		fmt.Fprintf(&all, "%s %x %v\n", e.Name(), content, err)
	}
	return all.String()
}

func TestEveryFlippedByteIsNoticedAndNothingOverwritten(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	set(t, s, "openai", c)
	path := filepath.Join(s.directory, storeFile)
	sealed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get("openai"); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) {
			t.Fatalf("byte %d of %d: %v", at, len(sealed), err)
		}
		if _, err := s.List(); err == nil {
			t.Fatalf("byte %d of %d: listed", at, len(sealed))
		}
	}
	for name, damaged := range map[string][]byte{
		"flipped":   append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1),
		"cut":       sealed[:len(sealed)-1],
		"half":      sealed[:len(sealed)/2],
		"empty":     {},
		"longer":    append(bytes.Clone(sealed), 0),
		"zeros":     make([]byte, len(sealed)),
		"too large": make([]byte, maxStore+1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			untouched(t, s, c, ErrDamaged)
		})
	}
	if err := os.WriteFile(path, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	get(t, s, "openai", c)
}

func TestWrongMissingOrDamagedKey(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	set(t, s, "openai", c)
	path := filepath.Join(s.directory, keyFile)
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	letter := bytes.LastIndex(key, []byte("AGE-SECRET-KEY-")) + 30
	damaged := bytes.Clone(key)
	damaged[letter] = 'B' // not a letter of bech32
	for name, k := range map[string]struct {
		text []byte
		want error
	}{
		"another key": {[]byte(other.String()), ErrKey},
		"damaged":     {damaged, ErrDamaged},
		"empty":       {nil, ErrDamaged},
		"too long":    {bytes.Repeat([]byte("#"), maxKey+1), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, k.text, 0o600); err != nil {
				t.Fatal(err)
			}
			untouched(t, s, c, k.want)
			_, err := s.Get("openai")
			if err == nil || strings.Contains(err.Error(), string(key[letter-5:letter])) {
				t.Errorf("shows the key: %v", err)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		untouched(t, s, c, ErrNoKey)
	})
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	get(t, s, "openai", c)
}

func TestNewerStoreIsLeftAlone(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	set(t, s, "openai", c)
	dir, err := openDirectory(s.directory)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	key, err := s.readKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeHeader(w, index{Version: storeVersion + 1}, maxIndex), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.directory, storeFile), sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	untouched(t, s, c, ErrVersion)
}

func TestFullStoreIsRefusedAndKept(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	set(t, s, "openai", c)
	dir, err := openDirectory(s.directory)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	key, err := s.readKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	big := map[string]Entry{}
	for i := range 2 * maxIndex / 100 {
		big[fmt.Sprintf("k%d", i)] = Entry{Provider: strings.Repeat("p", 60)}
	}
	if _, err := seal(big, key); !errors.Is(err, ErrFull) {
		t.Errorf("index: %v", err)
	}
	long, err := New(bytes.Repeat([]byte("k"), MaxLength))
	if err != nil {
		t.Fatal(err)
	}
	defer long.Wipe()
	clear(big)
	for i := range maxStore/MaxLength + 1 {
		big[fmt.Sprintf("k%d", i)] = Entry{Value: long}
	}
	if _, err := seal(big, key); !errors.Is(err, ErrFull) {
		t.Errorf("values: %v", err)
	}
	get(t, s, "openai", c)
}
