// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAutorunNamesWhatChanged(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home [1]*")
	work := filepath.Join(home, "work")
	write(t, work+"/.git/hooks/pre-commit", "old")
	write(t, work+"/.envrc", "same")
	write(t, home+"/.claude/settings.json", "{}")
	s := Session{supply: supply{config: Config{Dir: work, User: User{Home: home}, Attended: true}}}
	if s.autorun = s.stamps(); len(s.autorun) != 3 {
		t.Fatalf("took stock of %v", s.autorun)
	}
	if lines := s.changedSince(s.stamps()); len(lines) != 0 {
		t.Errorf("nothing changed, and was told %q", lines)
	}
	write(t, work+"/.git/hooks/pre-commit", "new text")
	write(t, work+"/.git/hooks/post-merge", "added")
	write(t, home+"/.claude/settings.json", `{"hooks": {}}`)
	write(t, work+"/main.go", "package main")
	lines := s.changedSince(s.stamps())
	for _, name := range []string{`".git/hooks/pre-commit"`, `".git/hooks/post-merge"`, "settings.json"} {
		if len(lines) != 2 || lines[0] != autorunHead || !strings.Contains(lines[1], name) {
			t.Errorf("%s is not in %q", name, lines)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		write(t, work+"/.git/hooks/"+name, "more")
	}
	if lines := s.changedSince(s.stamps()); len(lines) != 2 || !strings.HasSuffix(lines[1], "and 2 more") {
		t.Errorf("told %q", lines)
	}
}

// Files that are edited all the time are told for what runs in them alone.
func TestAutorunReadsSettings(t *testing.T) {
	dir := t.TempDir()
	s := Session{supply: supply{config: Config{Dir: dir, User: User{Home: dir + "/home"}, Attended: true}}}
	for _, c := range []struct {
		file, before, after string
		told                bool
	}{
		{".git/config", "[core]\n\tbare = false\n", "[core]\n\tbare = false\n[branch \"x\"]\n\tremote = origin\n", false},
		{".git/config", "[core]\n\tbare = false\n", "[core]\n\tbare = false\n\thooksPath = /x\n", true},
		{".git/config", "[core]\n", "[CORE] FSMonitor = /x\n", true},
		{".git/config", "", "[filter \"a.b\"]\n\tclean = x\n", true},
		{".git/config", "[alias]\n\ta = !x \\\n  y\n", "[alias]\n\ta = !x \\\n  z\n", true},
		{".git/config", "[core]\n", "[broken\n", true},
		{".git/config", "", "[include]\n\tpath = /x\n", true},
		{"package.json", `{"scripts": {"test": "a"}}`, `{"scripts": {"test": "b"}, "dependencies": {"c": "1"}}`, false},
		{"package.json", `{"scripts": {"test": "a"}}`, `{"scripts": {"test": "a", "postinstall": "b"}}`, true},
		{"package.json", `{"scripts": {"prepare": "a"}}`, `{"scripts": {"prepare": "b"}}`, true},
		{"package.json", `{}`, `{`, true},
	} {
		write(t, dir+"/"+c.file, c.before)
		s.autorun = s.stamps()
		write(t, dir+"/"+c.file, c.after)
		if told := len(s.changedSince(s.stamps())) > 0; told != c.told {
			t.Errorf("%s from %q to %q: told %v", c.file, c.before, c.after, told)
		}
		if err := os.Remove(dir + "/" + c.file); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProtectedGivesWay(t *testing.T) {
	s := Session{supply: supply{config: Config{Dir: "/w", User: User{Home: "/h"}}}}
	if got := s.protected([]string{"/w"}); !slices.Equal(got, []string{"/w/.git/hooks", "/h/.claude/hooks"}) {
		t.Errorf("%q", got)
	}
	if got := s.protected([]string{"/w", "/w/.git/hooks"}); !slices.Equal(got, []string{"/h/.claude/hooks"}) {
		t.Errorf("%q", got)
	}
}
