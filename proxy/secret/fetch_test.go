// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ordinary is the uid that tests of fetch pretend to run with.
const ordinary = 1000

// fetchAs parses and fetches, and proves that no error shows the canary and
// every error names the reference.
func fetchAs(t *testing.T, euid int, c canary, text string, env Env) (Entry, error) {
	t.Helper()
	ref, err := ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := fetch(t.Context(), ref, env, euid)
	t.Cleanup(e.Value.Wipe)
	if err != nil {
		if !strings.Contains(strings.ReplaceAll(err.Error(), string(c), ""), strings.ReplaceAll(text, string(c), "")) {
			t.Errorf("does not name %s: %v", text, err)
		}
		if e.Value.Len() != 0 {
			t.Errorf("%d bytes with %v", e.Value.Len(), err)
		}
		c.absent(t, strings.ReplaceAll(err.Error(), text, ""))
	}
	return e, err
}

func TestO4UnresolvedReferencesAreRefused(t *testing.T) {
	c := newCanary(t)
	empty := t.TempDir()
	for text, want := range map[string]error{
		"store:none":           ErrAbsent,
		"file:/nonexistent/x":  fs.ErrNotExist,
		"env:NONE":             ErrUnset,
		"exec:/nonexistent/x":  fs.ErrNotExist,
		"systemd:phantom-none": ErrElsewhere,
	} {
		if _, err := fetchAs(t, ordinary, c, text, Env{Directory: empty + "/none"}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	if _, err := Fetch(t.Context(), Ref{}, Env{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("zero reference: %v", err)
	}
}

func TestFetchStore(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	if err := s.Set("openai", Entry{Value: c.value(t), Hosts: []string{"api.openai.com"}, Provider: "openai"}); err != nil {
		t.Fatal(err)
	}
	e, err := fetchAs(t, ordinary, c, "store:openai", Env{Directory: s.directory})
	if err != nil || len(e.Hosts) != 1 || e.Provider != "openai" || e.Created.IsZero() {
		t.Fatalf("%+v, %v", e, err)
	}
	c.same(t, e.Value)
	if _, err := fetchAs(t, ordinary, c, "store:other", Env{Directory: s.directory}); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}

func TestFetchEnvTakesTheValueFromTheRequestOnly(t *testing.T) {
	c := newCanary(t)
	t.Setenv("OPENAI_API_KEY", string(c))
	if _, err := fetchAs(t, ordinary, c, "env:OPENAI_API_KEY", Env{}); !errors.Is(err, ErrUnset) {
		t.Errorf("own environment was looked at: %v", err)
	}
	e, err := fetchAs(t, ordinary, c, "env:OPENAI_API_KEY", Env{Value: c.value(t)})
	if err != nil {
		t.Fatal(err)
	}
	c.same(t, e.Value)
	bad, err := New([]byte(string(c) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetchAs(t, ordinary, c, "env:OPENAI_API_KEY", Env{Value: bad}); !errors.Is(err, ErrNewline) || bad.Len() != 0 {
		t.Errorf("%v, %d bytes left", err, bad.Len())
	}
}

func TestFetchFile(t *testing.T) {
	c := newCanary(t)
	dir := t.TempDir()
	put := func(name, content string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := put("good", string(c)+"\n", 0o600)
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink(good, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		good:                                 nil,
		put("read only", string(c), 0o400):   nil,
		put("crlf", string(c)+"\r\n", 0o600): nil,
		link:                                 unix.ELOOP,
		fifo:                                 ErrUnsafe,
		dir:                                  ErrUnsafe,
		"/dev/null":                          ErrUnsafe,
		put("group", string(c), 0o640):       ErrUnsafe,
		put("world", string(c), 0o604):       ErrUnsafe,
		put("writable", string(c), 0o602):    ErrUnsafe,
		put("empty", "", 0o600):              ErrEmpty,
		put("newline", "\n", 0o600):          ErrEmpty,
		put("two lines", string(c)+"\n\n", 0o600):                    ErrNewline,
		put("nul", string(c)+"\x00", 0o600):                          ErrNUL,
		put("short", "hunter2", 0o600):                               ErrShort,
		put("huge", strings.Repeat(string(c), 10<<20/len(c)), 0o600): ErrLong,
	} {
		e, err := fetchAs(t, ordinary, c, "file:"+path, Env{UID: os.Getuid()})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if want == nil {
			c.same(t, e.Value)
		}
	}
	_, err := fetchAs(t, ordinary, c, "file:"+filepath.Join(dir, "group"), Env{UID: os.Getuid()})
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("no way out: %v", err)
	}
}

func TestAHangingSourceEndsAtItsDeadline(t *testing.T) {
	c, late := newCanary(t), make(chan struct{})
	v := c.value(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, timeout{time.Millisecond})
	defer cancel()
	_, err := within(ctx, func() (Entry, error) { <-late; return Entry{Value: v}, nil })
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "no answer within 1ms" {
		t.Errorf("%v", err)
	}
	close(late)
	for deadline := time.Now().Add(10 * time.Second); v.Len() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("a late value is not wiped")
		}
	}
}

func TestRootOnly(t *testing.T) {
	if err := rootOnly("/bin/sh"); err != nil {
		t.Errorf("/bin/sh: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"open", "open/deep", "closed"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := func(path string, mode fs.FileMode) string {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\n"), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	deep, group, world := file("open/deep/x", 0o755), file("closed/group", 0o775), file("closed/world", 0o757)
	up, loop := filepath.Join(dir, "closed/up"), filepath.Join(dir, "closed/loop")
	if err := errors.Join(os.Chmod(filepath.Join(dir, "open"), 0o777), os.Symlink("../open/deep/x", up)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{deep, group, world, up} {
		if err := rootOnly(path); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := rootOnly(loop); err == nil {
		t.Error("a loop of links passed")
	}
	if err := rootOnly("/bin/no such program"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
