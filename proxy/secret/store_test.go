// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func set(t testing.TB, s *Store, name string, c canary) {
	t.Helper()
	if err := s.Set(name, Entry{Value: c.value(t)}); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *Store, name string, want canary) {
	t.Helper()
	e, err := s.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Value.Wipe()
	want.same(t, e.Value)
}

func newStore(t testing.TB) *Store {
	return NewStore(filepath.Join(t.TempDir(), "phantom-ns"))
}

func TestStoreKeepsWhatWasSet(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("no store yet: %v, %v", list, err)
	}
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	v := c.value(t)
	if err := s.Set("openai", Entry{v, []string{"api.openai.com"}, "openai", created}); err != nil {
		t.Fatal(err)
	}
	c.same(t, v)
	set(t, s, "github", newCanary(t))
	e, err := s.Get("openai")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Value.Wipe()
	c.same(t, e.Value)
	if len(e.Hosts) != 1 || e.Hosts[0] != "api.openai.com" || e.Provider != "openai" || !e.Created.Equal(created) {
		t.Errorf("%+v", e)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "github" || list[1].Name != "openai" || list[1].Hosts[0] != "api.openai.com" {
		t.Fatalf("%+v, %v", list, err)
	}
	if age := time.Since(list[0].Created); age < 0 || age > time.Minute {
		t.Errorf("created %s ago", age)
	}
	c.absent(t, fmt.Sprintf("%+v %#v", list, list))
}

func TestStoreRemove(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	if err := s.Remove("a"); !errors.Is(err, ErrAbsent) {
		t.Errorf("no store: %v", err)
	}
	if _, err := os.Stat(s.directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused removal made the directory: %v", err)
	}
	set(t, s, "a", newCanary(t))
	set(t, s, "b", c)
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.Remove("a"), second(s.Get("a"))} {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("after removal: %v", err)
		}
	}
	get(t, s, "b", c)
}

func second(_ Entry, err error) error { return err }

func TestL8NothingInTheClearAtRest(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	if err := s.Set("openai", Entry{Value: c.value(t), Hosts: []string{"api.openai.com"}}); err != nil {
		t.Fatal(err)
	}
	onlyTwoFiles(t, s)
	for name, mode := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, keyFile: 0o600, storeFile: 0o600} {
		st, err := os.Stat(filepath.Join(s.directory, name))
		if err != nil || st.Mode() != mode {
			t.Errorf("%q: %v, %v", name, st.Mode(), err)
		}
	}
	for _, name := range []string{keyFile, storeFile} {
		content, err := os.ReadFile(filepath.Join(s.directory, name))
		if err != nil {
			t.Fatal(err)
		}
		c.absent(t, string(content))
		if bytes.Contains(content, []byte("openai")) {
			t.Errorf("%s tells names", name)
		}
	}
}

func TestSetRefusesBadEntriesAndWritesNothing(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	bad := func(text string) Value {
		v, err := New([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Wipe)
		return v
	}
	for name, err := range map[string]error{
		"name":        s.Set("../key", Entry{Value: c.value(t)}),
		"empty name":  s.Set("", Entry{Value: c.value(t)}),
		"raw key":     s.Set(strings.ToUpper(string(c))[:20], Entry{Value: c.value(t)}),
		"provider":    s.Set("a", Entry{Value: c.value(t), Provider: "Open AI"}),
		"host":        s.Set("a", Entry{Value: c.value(t), Hosts: []string{"a b"}}),
		"empty host":  s.Set("a", Entry{Value: c.value(t), Hosts: []string{""}}),
		"many hosts":  s.Set("a", Entry{Value: c.value(t), Hosts: make([]string, MaxHosts+1)}),
		"empty":       s.Set("a", Entry{}),
		"newline":     s.Set("a", Entry{Value: bad(string(c) + "\n" + string(c))}),
		"wiped value": func() error { v := bad(string(c)); v.Wipe(); return s.Set("a", Entry{Value: v}) }(),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		c.absent(t, err.Error())
	}
	if _, err := os.Stat(s.directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
}

func TestP15StoreOpenToOthersIsRefused(t *testing.T) {
	for _, name := range []string{"", keyFile, storeFile} {
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601, 0o777} {
			t.Run(fmt.Sprintf("%s/%o", name, mode), func(t *testing.T) {
				s, c := newStore(t), newCanary(t)
				set(t, s, "openai", c)
				if name == "" {
					mode |= 0o100
				}
				if err := os.Chmod(filepath.Join(s.directory, name), mode); err != nil {
					t.Fatal(err)
				}
				untouched(t, s, c, ErrUnsafe)
				_, err := s.Get("openai")
				if err == nil || !strings.Contains(err.Error(), "chmod ") {
					t.Errorf("no way out: %v", err)
				}
			})
		}
	}
}

func TestStoreFollowsNoLinkAndOpensNoFIFO(t *testing.T) {
	for _, name := range []string{keyFile, storeFile} {
		s, c := newStore(t), newCanary(t)
		set(t, s, "openai", c)
		path := filepath.Join(s.directory, name)
		if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
			t.Fatal(err)
		}
		untouched(t, s, c, nil)
		if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get("openai"); !errors.Is(err, ErrUnsafe) {
			t.Errorf("FIFO as %s: %v", name, err)
		}
	}
	s, c := newStore(t), newCanary(t)
	set(t, s, "openai", c)
	linked := NewStore(s.directory + ".link")
	if err := os.Symlink(s.directory, linked.directory); err != nil {
		t.Fatal(err)
	}
	if _, err := linked.Get("openai"); err == nil {
		t.Error("directory behind a link was opened")
	}
}

func TestWritersDoNotLoseEachOthersEntries(t *testing.T) {
	s := newStore(t)
	var all sync.WaitGroup
	want := map[string]canary{}
	for i := range 12 {
		want[fmt.Sprintf("k%d", i)] = newCanary(t)
	}
	for name, c := range want {
		v := c.value(t)
		all.Go(func() {
			if err := NewStore(s.directory).Set(name, Entry{Value: v}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for name, c := range want {
		get(t, s, name, c)
	}
	onlyTwoFiles(t, s)
}
