// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every package of the product is in the plan of the rooms.
func TestEveryRoomIsInThePlan(t *testing.T) {
	_, plan, _ := strings.Cut(read(t, "docs/ARCHITECTURE.md"), "## Rooms\n\n```\n")
	plan, _, closed := strings.Cut(plan, "```")
	if !closed {
		t.Fatal("there is no plan")
	}
	rooms := make(map[string]bool)
	for _, top := range []string{"bpf", "cmd", "enforcer", "netns", "proxy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".go" {
				rooms[filepath.Base(filepath.Dir(path))] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for room := range rooms {
		if !regexp.MustCompile(`(^|[\s/{,])` + room + `($|[\s/},:;])`).MatchString(plan) {
			t.Errorf("%s is not there", room)
		}
	}
}
