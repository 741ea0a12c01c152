// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Children are the processes that pid's threads started, by argv[0]; of one
// that has ended there are none.
func Children(t testing.TB, pid int) map[string]int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	children := map[string]int{}
	for _, list := range lists {
		fields, _ := os.ReadFile(list) // the thread may have ended
		for _, field := range strings.Fields(string(fields)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("rig: children of %d: %v", pid, err)
			}
			line, _ := os.ReadFile("/proc/" + field + "/cmdline")
			name, _, _ := strings.Cut(string(line), "\x00")
			children[name] = child
		}
	}
	return children
}

// Child is the child of that name, which there must be.
func Child(t testing.TB, pid int, name string) int {
	t.Helper()
	children := Children(t, pid)
	child, ok := children[name]
	if !ok {
		t.Fatalf("process %d has no child %q: %v", pid, name, children)
	}
	return child
}
