// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

// The runtime's page has its options and the capabilities that it refuses, and
// the guide has these, too.
func TestRuntimePageIsTheCodes(t *testing.T) {
	page, guide := read(t, "docs/man/phantom-runc.8"), read(t, "docs/CONTAINERS.md")
	own := regexp.MustCompile(`var own = \[\]string\{(.*)\}`).FindStringSubmatch(read(t, "enforcer/node/oci/command.go"))
	if own == nil {
		t.Fatal("the options are not where they were")
	}
	names := regexp.MustCompile(`"([a-z]+)"`).FindAllStringSubmatch(own[1], -1)
	if len(names) < 4 {
		t.Errorf("%d options: they are not where they were", len(names))
	}
	for _, name := range names {
		if !strings.Contains(page, "\n.It Fl -"+name[1]+" ") {
			t.Errorf("the page does not have --%s", name[1])
		}
	}
	refused := regexp.MustCompile(`(?m)^\t"CAP_([A-Z_]+)",`).FindAllStringSubmatch(read(t, "enforcer/node/oci/check.go"), -1)
	if len(refused) < 6 {
		t.Fatalf("%d capabilities: they are not where they were", len(refused))
	}
	for _, name := range refused {
		if !strings.Contains(page, "CAP_"+name[1]) || !strings.Contains(guide, "`"+name[1]+"`") {
			t.Errorf("page or guide does not have %s", name[1])
		}
	}
	runtimes := cdi.Runtimes()
	if len(runtimes) < 3 {
		t.Errorf("runtimes: %v", runtimes)
	}
	for _, runtime := range runtimes {
		if !strings.Contains(read(t, commandPage), runtime) {
			t.Errorf("%s does not have %s", commandPage, runtime)
		}
	}
}
