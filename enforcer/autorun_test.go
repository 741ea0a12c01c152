// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAutorunNamesWhatChanged(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home [1]*")
	work := filepath.Join(home, "work")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(work+"/.git/hooks/pre-commit", "old")
	write(work+"/.envrc", "same")
	write(home+"/.claude/settings.json", "{}")
	var told []string
	s := Session{config: Config{Dir: work, User: User{Home: home}, Attended: true, Notify: func(line string) { told = append(told, line) }}}
	before := s.stampAutorun()
	if len(before) != 3 {
		t.Fatalf("took stock of %v", before)
	}
	s.tellAutorun(before)
	if len(told) != 0 {
		t.Errorf("nothing changed, and was told %q", told)
	}
	write(work+"/.git/hooks/pre-commit", "new text")
	write(work+"/.git/hooks/post-merge", "added")
	write(home+"/.claude/settings.json", `{"hooks": {}}`)
	write(work+"/main.go", "package main")
	s.tellAutorun(before)
	for _, name := range []string{"pre-commit", "post-merge", "settings.json"} {
		if !slices.ContainsFunc(told, func(line string) bool { return strings.Contains(line, name) }) {
			t.Errorf("%s is not among %q", name, told)
		}
	}
	if len(told) != 3 {
		t.Errorf("told %q", told)
	}
	told = nil
	for _, name := range []string{"a", "b", "c"} {
		write(work+"/.git/hooks/"+name, "more")
	}
	if s.tellAutorun(before); len(told) != maxTold+1 {
		t.Errorf("told %d lines: %q", len(told), told)
	}
	s.config.Attended, told = false, nil
	if s.tellAutorun(before); len(told) != 0 {
		t.Errorf("told nobody %q", told)
	}
}
