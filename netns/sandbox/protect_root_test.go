// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"os"
	"testing"
)

// TestP12HooksAreNotCreatable: what git runs by itself is read-only in a
// folder that is written for real, and still runs.
func TestP12HooksAreNotCreatable(t *testing.T) {
	r := newRig(t)
	hooks := r.dir + "/.git/hooks"
	r.give(hooks+"/pre-commit", "#!/bin/sh\necho ran\n")
	must(t, os.Chmod(hooks+"/pre-commit", 0o755))
	must(t, os.Chown(r.dir+"/.git", testUID, testGID))
	must(t, os.Symlink("/etc", r.dir+"/link"))
	r.config.Spec.Protect = []string{hooks, r.dir + "/missing", r.dir + "/link", "/etc"}
	r.script("ran\nfixed\nfixed\nfixed\nwritten\n", "cd "+r.dir+"; .git/hooks/pre-commit; "+
		"(echo x > .git/hooks/post-merge) 2>/dev/null || echo fixed; rm -f .git/hooks/pre-commit 2>/dev/null || echo fixed; "+
		"mv .git/hooks old 2>/dev/null || echo fixed; echo x > .git/config && echo written")
	if left, err := os.ReadDir(hooks); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Lstat(r.dir + "/missing"); err == nil {
		t.Error("a folder was made on the host")
	}
}
