// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// blocks returns the shell's blocks of one section of the guide.
func blocks(t *testing.T, title string) []string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/CONTAINERS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("the guide has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var list []string
	for _, block := range strings.Split(section, "\n```sh\n")[1:] {
		text, _, ok := strings.Cut(block, "\n```")
		if !ok {
			t.Fatalf("a block of %q does not end", title)
		}
		list = append(list, text+"\n")
	}
	return list
}

// units are what the guide asks systemd for.
func (n *node) units() map[string]func() {
	return map[string]func(){
		"enable --now phantom-ns": n.begin,
		"restart docker":          n.dockerd,
	}
}

// follow runs a section's blocks as they are written, but for what systemd
// would start, and returns what they printed.
func (n *node) follow(t *testing.T, title string) string {
	t.Helper()
	var out strings.Builder
	for _, block := range blocks(t, title) {
		var script strings.Builder
		for line := range strings.Lines(block) {
			unit, isUnit := strings.CutPrefix(strings.TrimSpace(line), "sudo systemctl ")
			if !isUnit {
				script.WriteString(line)
				continue
			}
			start := n.units()[unit]
			if start == nil {
				t.Fatalf("the guide asks systemd for %q", unit)
			}
			out.WriteString(n.tell(script.String()) + "\n")
			script.Reset()
			start()
		}
		out.WriteString(n.tell(script.String()) + "\n")
	}
	return out.String()
}
