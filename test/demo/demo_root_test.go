// SPDX-License-Identifier: Apache-2.0

//go:build root

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestDemoHoldsEveryClaim runs what `make demo` runs after it has built.
func TestDemoHoldsEveryClaim(t *testing.T) {
	program := rig.Binary(t)
	before := rig.Snapshot(t)
	demo := filepath.Join(t.TempDir(), "demo")
	if err := rig.GoBuild(demo, "./test/demo"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(demo, program).CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(text, "✘") || strings.Count(text, "✔") != 7 {
		t.Errorf("%v\n%s", err, text)
	}
	if lines := strings.Count(text, "\n"); lines > 30 {
		t.Errorf("%d lines are more than a person reads in twenty seconds:\n%s", lines, text)
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("colours although this is no terminal:\n%q", text)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
