// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of the documents")

// root is the repository, as seen from here.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// frames are the lines around a generated part, by the document's ending.
var frames = map[string]struct{ begin, end string }{
	".md": {"<!-- generated: NAME -->\n", "<!-- end -->\n"},
	".1":  {".\\\" generated: NAME\n", ".\\\" end\n"},
	".5":  {".\\\" generated: NAME\n", ".\\\" end\n"},
}

// generated is a part of a document that the code writes.
type generated struct {
	file, name string
	make       func(*testing.T) string
}

// TestGenerated compares the generated parts with what the code says, or
// writes them.
func TestGenerated(t *testing.T) {
	for _, part := range append(refusedParts(t), []generated{
		{"docs/KERNEL.md", "kernels", kernelTable},
		{"docs/KERNEL.md", "features", featureTable},
		{"docs/KERNEL.md", "errnos", errnoTable},
		{auditPage, "reasons", reasonList},
		{policyPage, "masked", maskedList},
		{policyPage, "profiles", profileList},
		{policyPage, "providers", providerList},
	}...) {
		t.Run(filepath.Base(part.file)+"/"+part.name, func(t *testing.T) {
			text := read(t, part.file)
			frame := frames[filepath.Ext(part.file)]
			begin := strings.Replace(frame.begin, "NAME", part.name, 1)
			before, rest, found := strings.Cut(text, begin)
			got, after, closed := strings.Cut(rest, frame.end)
			if !found || !closed {
				t.Fatalf("%s has no part %q", part.file, part.name)
			}
			want := part.make(t)
			if *update {
				text = before + begin + want + frame.end + after
				if err := os.WriteFile(filepath.Join(root, part.file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("go generate ./test/docs would change this: code (-), document (+)\n%s", diff)
			}
		})
	}
}

// item is one entry of a page's list: its words after the macro, and its text.
type item struct{ head, text string }

// section returns the text of a man page's section, up to the next one.
func section(t *testing.T, page, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n.Sh "+title+"\n")
	if !found {
		t.Fatalf("no section %q", title)
	}
	text, _, _ := strings.Cut(rest, "\n.Sh ")
	return text + "\n"
}

var macro = regexp.MustCompile(`(?m)^\.[A-Z][a-z] `)

// items returns the entries of a page's lists whose head begins with the macro,
// e.g. "Cm". Lists inside an entry belong to its text.
func items(text, kind string) []item {
	var all []item
	for part := range strings.SplitSeq(text, "\n.S") {
		for i, entry := range strings.Split(part, "\n.It "+kind+" ") {
			if i == 0 {
				continue
			}
			head, body, _ := strings.Cut(entry, "\n")
			all = append(all, item{head, macro.ReplaceAllString(body, "")})
		}
	}
	return all
}

func heads(all []item) []string {
	var out []string
	for _, i := range all {
		word, _, _ := strings.Cut(i.head, " ")
		out = append(out, word)
	}
	return out
}

// has reports whether a page has a word as a whole.
func has(page, word string) bool {
	return regexp.MustCompile(`(^|[\s,(])` + regexp.QuoteMeta(word) + `($|[\s,.;)])`).MatchString(page)
}
