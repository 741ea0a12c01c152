// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a client needs to believe a session, as docs/CLIENTS.md says it.
const (
	NeedsMount    = "the mount"
	NeedsVariable = "a variable"
	NeedsDatabase = "its database"
)

// Needs returns what the page says of a client: the page is what a suite holds
// its measurement against. A client without a line fails the test.
func Needs(t testing.TB, client string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatalf("rig: %v", err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "CLIENTS.md"))
	if err != nil {
		t.Fatalf("rig: %v", err)
	}
	for line := range strings.Lines(string(page)) {
		if rest, found := strings.CutPrefix(line, "| "+client+" | "); found {
			need, _, _ := strings.Cut(rest, " |")
			return need
		}
	}
	t.Fatalf("rig: docs/CLIENTS.md has no line about %s", client)
	return ""
}
