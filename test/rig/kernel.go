// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// KernelBelow says whether this machine's kernel is older than a version such
// as "6.1".
func KernelBelow(t testing.TB, version string) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatalf("rig: ask for the kernel's version: %v", err)
	}
	is, than := parseVersion(t, unix.ByteSliceToString(name.Release[:])), parseVersion(t, version)
	return is[0] < than[0] || is[0] == than[0] && is[1] < than[1]
}

// parseVersion reads major and minor from the start of a release.
func parseVersion(t testing.TB, text string) (v [2]int) {
	t.Helper()
	if _, err := fmt.Sscanf(text, "%d.%d", &v[0], &v[1]); err != nil {
		t.Fatalf("rig: %q is no kernel version: %v", text, err)
	}
	return v
}
