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
		"enable --now phantom-ns": n.start,
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

// The guide's sessions, as they are written.
func TestGuide(t *testing.T) {
	n := newNode(newBed(t))
	n.follow(t, "The node")
	oracle := rig.NewOracle(n.key)
	for _, section := range []struct {
		title   string
		prepare func()
		answers int // how often the upstream's answer is seen
	}{
		{"podman", n.podman, 4},
		{"containerd", n.containerd, 1},
		{"Docker", func() {}, 3},
	} {
		t.Run(section.title, func(t *testing.T) {
			section.prepare()
			out := n.follow(t, section.title)
			if got := strings.Count(out, n.upstream.Answer); got != section.answers {
				t.Errorf("%d answers, want %d\n%s", got, section.answers, out)
			}
			if hits := oracle.Bytes("output", []byte(out)); len(hits) > 0 {
				t.Errorf("the real key was printed: %v", hits)
			}
		})
	}
	if left := n.run("phantom-ns", "status", "--json"); strings.Contains(left, `"attachments":0`) == false {
		t.Errorf("left: %s", left)
	}
}
