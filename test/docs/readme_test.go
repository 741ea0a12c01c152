// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// TestREADMEHoldsTo what is there: its policy is one, and profiles, targets and
// pages that it names exist. Its first steps are typed by make newcomer.
func TestREADMEHoldsTo(t *testing.T) {
	text := read(t, "README.md")
	_, after, _ := strings.Cut(text, "```yaml\n")
	block, _, _ := strings.Cut(after, "```")
	file, err := policy.Parse("README.md", []byte(block))
	if err != nil || len(file.Credentials) != 1 || len(file.Egress) != 1 || len(file.Forward) != 1 || len(file.Publish) != 1 || file.Upstream.Proxy == "" {
		t.Fatalf("%v:\n%s", err, block)
	}
	stored := func(string) ([]string, string, bool) { return []string{"api.openai.com"}, "openai", true }
	session, err := policy.Resolve(file, policy.Flags{}, stored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Compile(session); err != nil {
		t.Error(err)
	}

	names := regexp.MustCompile(`(?s)There are profiles for (.*?)\sand others`).FindStringSubmatch(text)
	if names == nil {
		t.Fatal("no profiles are named")
	}
	for _, name := range regexp.MustCompile(`,\s+`).Split(names[1], -1) {
		if p, known := policy.ProfileNamed(name); !known || p.Refuse != "" {
			t.Errorf("there is no profile %q", name)
		}
	}
	if n := len(policy.Providers()); n < 57 || n > 66 {
		t.Errorf("some sixty providers are %d", n)
	}
	makefile := read(t, "Makefile")
	targets := regexp.MustCompile("(?m)(?:^[$#] (?:sudo )?|`)make ([a-z]+)").FindAllStringSubmatch(text, -1)
	links := regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(text, -1)
	if len(targets) < 4 || len(links) < 6 {
		t.Errorf("targets %q, links %q", targets, links)
	}
	for _, target := range targets {
		if !strings.Contains(makefile, "\n"+target[1]+":") {
			t.Errorf("there is no target %q", target[1])
		}
	}
	for _, link := range links {
		if _, err := os.Stat(filepath.Join(root, link[1])); err != nil {
			t.Error(err)
		}
	}
}
