// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The paths are read by a short cut at every start.
func TestKnownFilePathsAreTheTables(t *testing.T) {
	var want []string
	for _, f := range KnownFiles() {
		want = append(want, f.Path)
	}
	if diff := cmp.Diff(want, KnownFilePaths()); diff != "" {
		t.Errorf("table (-), short cut (+):\n%s", diff)
	}
}

func TestKnownFilesAreWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range KnownFiles() {
		if seen[f.Path] {
			t.Errorf("%s stands there twice", f.Path)
		}
		seen[f.Path] = true
		if (f.Format == "") != (len(f.Secrets) == 0) || f.Folder && f.Format != "" {
			t.Errorf("%s: format %q and %d secrets", f.Path, f.Format, len(f.Secrets))
		}
		if !strings.HasPrefix(f.Path, "~/") && !strings.HasPrefix(f.Path, "/") {
			t.Errorf("%s is a project's", f.Path)
		}
		for _, s := range f.Secrets {
			hosts := strings.Count(strings.Join(s.Field, "/"), "{host}")
			if hosts > 1 || hosts == 1 && s.Provider != "" || f.Format == FormatText && len(s.Field) > 0 {
				t.Errorf("%s: field %q", f.Path, s.Field)
			}
		}
	}
}

func TestKnownFilesSchemaHasTheKeysOfTheParser(t *testing.T) {
	data, err := os.ReadFile("masked.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	root := readObject(t, data)
	for name, c := range map[string]struct {
		schema object
		keys   []string
	}{
		"root":   {root, names(knownFilesKeys)},
		"file":   {readObject(t, root.Defs["file"]), names(knownFileKeys)},
		"folder": {readObject(t, root.Defs["folder"]), names(knownFolderKeys)},
		"secret": {readObject(t, root.Defs["secret"]), names(fileSecretKeys)},
	} {
		if diff := cmp.Diff(c.keys, slices.Sorted(maps.Keys(c.schema.Properties))); diff != "" {
			t.Errorf("%s: parser (-), schema (+):\n%s", name, diff)
		}
	}
	var format struct{ Enum []string }
	if err := json.Unmarshal(readObject(t, root.Defs["file"]).Properties["format"], &format); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(maskedFormats, format.Enum); diff != "" {
		t.Errorf("formats: parser (-), schema (+):\n%s", diff)
	}
}

func TestParseField(t *testing.T) {
	for text, want := range map[string][]string{
		"/": {}, "/a": {"a"}, "/a/*/~1b~0": {"a", "*", "/b~"}, "": nil, "a": nil, "//a": nil, "/a/": nil,
	} {
		if got, ok := ParseField(text); ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

func TestLooksLikeKey(t *testing.T) {
	for text, want := range map[string]bool{"sk-proj-0123456789abcdef": true, "sk-short": false, "plain text of some length": false} {
		if LooksLikeKey(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
