// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pages are the man pages, below docs/man.
var pages = []string{"phantom-ns.1", "phantom-ns-policy.5", "phantom-ns-audit.5", "phantom-cni.8", "phantom-runc.8", "phantom-ns-serve.8"}

// macros are those of mdoc that the pages use, with those that take no text.
var macros = map[string]bool{
	"Dd": true, "Dt": true, "Os": true, "Sh": true, "Ss": true, "Pp": true, "Nm": true, "Nd": true, "Bl": true, "El": true,
	"It": true, "Bd": true, "Ed": true, "Op": true, "Fl": true, "Ar": true, "Cm": true, "Pa": true, "Ev": true, "Li": true,
	"Dv": true, "Xr": true, "Sx": true, "Dq": true, "Pq": true,
}

// Every page has the sections that readers look for, uses known macros, and
// closes what it opens.
func TestPagesAreWellFormed(t *testing.T) {
	for _, name := range pages {
		t.Run(name, func(t *testing.T) {
			page := read(t, filepath.Join("docs/man", name))
			for _, title := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"} {
				section(t, page, title)
			}
			open := map[string]int{}
			for n, line := range strings.Split(page, "\n") {
				if strings.HasPrefix(line, `.\"`) || !strings.HasPrefix(line, ".") {
					if line != strings.TrimRight(line, " \t") {
						t.Errorf("line %d ends in a blank", n+1)
					}
					continue
				}
				word, _, _ := strings.Cut(line[1:], " ")
				if !macros[word] {
					t.Errorf("line %d: macro %q", n+1, word)
				}
				open[word]++
			}
			if open["Bl"] != open["El"] || open["Bd"] != open["Ed"] {
				t.Errorf("%d lists begin and %d end, %d displays and %d", open["Bl"], open["El"], open["Bd"], open["Ed"])
			}
		})
	}
}

// Messages and pages send readers to pages: make install puts them where man looks.
func TestPagesAreInstalled(t *testing.T) {
	tree, to := t.TempDir(), t.TempDir()
	for _, part := range []string{"Makefile", "docs", "packaging"} {
		source, err := filepath.Abs(filepath.Join(root, part))
		if err == nil {
			err = os.Symlink(source, filepath.Join(tree, part))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// What its user built; nothing is built anew (MAKE).
	if err := os.Mkdir(filepath.Join(tree, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"phantom-ns", "phantom-cni", "phantom-runc"} {
		if err := os.WriteFile(filepath.Join(tree, "build", program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("make", "install", "DESTDIR="+to, "MAKE=true")
	install.Dir = tree
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, page := range pages {
		there, err := os.ReadFile(filepath.Join(to, "usr/local/share/man/man"+page[len(page)-1:], page))
		if err != nil || string(there) != read(t, filepath.Join("docs/man", page)) {
			t.Errorf("%s: %v", page, err)
		}
	}
}

// groff's own opinion, where it is installed: the test above needs nothing.
func TestGroffHasNoWarnings(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Log("groff is not installed: TestPagesAreWellFormed alone has looked")
		return
	}
	for _, name := range pages {
		out, err := exec.Command(groff, "-mdoc", "-ww", "-z", filepath.Join(root, "docs/man", name)).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("groff %s: %v\n%s", name, err, out)
		}
	}
}
