// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"os"
	"testing"
)

func TestSharedMountsAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		place string
	}{
		"shared":            {"36 35 98:0 /m /etc rw,noatime shared:7 - ext3 /dev/root rw", "/etc"},
		"shared and slave":  {"36 35 98:0 / /a rw master:1 shared:7 - ext3 /dev/root rw", "/a"},
		"private":           {"36 35 98:0 / / rw - ext3 /dev/root rw", ""},
		"slave":             {"36 35 98:0 / / rw master:1 - ext3 /dev/root rw", ""},
		"source looks like": {"36 35 98:0 / / rw - ext3 shared:1 rw", ""},
		"path looks like":   {"36 35 98:0 / shared:1 rw - ext3 none rw", ""},
		"empty":             {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			place, shared := propagates([]byte(c.line))
			if place != c.place || shared != (c.place != "") {
				t.Fatalf("%q %v", place, shared)
			}
		})
	}
}

func TestPropagationThatCannotBeReadIsRefused(t *testing.T) {
	if err := requirePrivate(t.TempDir() + "/missing"); err == nil {
		t.Fatal("accepted")
	}
}

func TestStagingMustBeATmpfs(t *testing.T) {
	for _, name := range []string{"relative", "/proc", "/nowhere", os.DevNull + "/x"} {
		if err := requireTmpfs(name); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}
