// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"os"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

func TestSharedMountsAreSeen(t *testing.T) {
	private := mountinfo.Mount{Path: "/"}
	if err := requirePrivate([]mountinfo.Mount{private, private}); err != nil {
		t.Error(err)
	}
	if err := requirePrivate([]mountinfo.Mount{private, {Path: "/etc", Shared: true}}); err == nil || !strings.Contains(err.Error(), `"/etc"`) {
		t.Errorf("got %v", err)
	}
}

func TestStagingMustBeATmpfs(t *testing.T) {
	for _, name := range []string{"relative", "/proc", "/nowhere", os.DevNull + "/x"} {
		if err := requireTmpfs(name); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}
