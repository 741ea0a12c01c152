// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// A table is testdata/NAME.txt: words in columns, '#' begins a comment. Where
// kernels before VERSION come to something else, the lines that differ are in
// testdata/NAME.below-VERSION.txt, and only those.

// older returns the table's other files that this kernel is below.
func older(t *testing.T, name string) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/" + name + ".below-*.txt")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(paths, func(path string) bool {
		version := strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"+name+".below-"), ".txt")
		return !rig.KernelBelow(t, version)
	})
}

// readLines returns the lines of a table as they are for this kernel, in the
// table's order. The first two columns are a line's name.
func readLines(t *testing.T, name string, columns int) [][]string {
	t.Helper()
	all := splitLines(t, "testdata/"+name+".txt", columns)
	for _, path := range older(t, name) {
		other := make(map[string][]string)
		for _, line := range splitLines(t, path, columns) {
			other[line[0]+" "+line[1]] = line
		}
		for i, line := range all {
			if instead := other[line[0]+" "+line[1]]; instead != nil {
				if slices.Equal(line, instead) {
					t.Errorf("%s repeats %v", path, line)
				}
				all[i] = instead
				delete(other, line[0]+" "+line[1])
			}
		}
		if len(other) > 0 {
			t.Fatalf("%s has lines that %s has not: %v", path, name, slices.Sorted(maps.Keys(other)))
		}
	}
	return all
}

func splitLines(t *testing.T, path string, columns int) [][]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != columns {
			t.Fatalf("%s: %q has %d columns instead of %d", path, line, len(fields), columns)
		}
		all = append(all, fields)
	}
	return all
}

// comments returns the lines of a file that begin with '#'.
func comments(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			text.WriteString(line)
		}
	}
	return text.String()
}
