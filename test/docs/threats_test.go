// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bytes"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

const threats = "docs/THREATS.md"

var (
	promise   = regexp.MustCompile(`(?m)^\| (G\d+) \| (.*) \| (.*) \|$`)
	reference = regexp.MustCompile("`([a-z][a-z0-9/-]*)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
)

// TestEveryPromiseIsHeld finds each test that a promise names.
func TestEveryPromiseIsHeld(t *testing.T) {
	promises := promise.FindAllStringSubmatch(read(t, threats), -1)
	if len(promises) < 30 {
		t.Fatalf("%d promises: the document is not read as it is written", len(promises))
	}
	known := make(map[string]map[string]bool)
	for i, p := range promises {
		if want := "G" + strconv.Itoa(i+1); p[1] != want {
			t.Errorf("%s stands where %s belongs", p[1], want)
		}
		tests := reference.FindAllStringSubmatch(p[3], -1)
		if len(tests) == 0 || strings.Count(p[3], "`") != 2*len(tests) {
			t.Errorf("%s: %q names tests in another form than `dir.TestName`", p[1], p[3])
		}
		for _, ref := range tests {
			if known[ref[1]] == nil {
				known[ref[1]] = testsIn(t, ref[1])
			}
			if !known[ref[1]][ref[2]] {
				t.Errorf("%s: there is no %s in %s", p[1], ref[2], ref[1])
			}
		}
	}
}

// The cases of an attacker's list that this project began with, by what they are
// about, and how many there are: redirect, names, HTTP, credentials, leaks, processes
// and host, sessions, trust, load, operation, containers.
var cases = map[string]int{"R": 14, "N": 10, "H": 10, "C": 12, "L": 12, "P": 15, "S": 5, "T": 5, "D": 11, "O": 10, "K": 7}

// TestEveryCaseHasATest finds one that is named for each case, or a line of the
// ways out of a session.
func TestEveryCaseHasATest(t *testing.T) {
	named := make(map[string]bool)
	prefix := regexp.MustCompile(`(?m)^func (?:Test|Fuzz)([A-Z]\d+)[A-Z]`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range prefix.FindAllStringSubmatch(string(text), -1) {
			named[found[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(read(t, "test/escape/testdata/ways.txt")) {
		id, _, _ := strings.Cut(line, " ")
		named[id] = true
	}
	for about, count := range cases {
		for i := range count {
			if id := about + strconv.Itoa(i+1); !named[id] {
				t.Errorf("no test is named for %s", id)
			}
		}
	}
}

// Numbers that the code does not export, and where they stand.
func TestNumbersAreTheCodes(t *testing.T) {
	for _, n := range []struct{ page, text, dir, file, name, value string }{
		{threats, "5,000 entries", "netns/sandbox", "mountsocket.go", "maxSocketEntries", "5000"},
		{policyPage, "There may be 32.", "proxy/policy", "destination.go", "maxPublish", "32"},
		{policyPage, "there may be 100", "netns/sandbox", "spec.go", "forwardLimit", "100"},
		{commandPage, "at most 32, all", "enforcer/node/members", "serve.go", "sessionsOfOne", "32"},
		{commandPage, "all members together 256", "enforcer/node/members", "serve.go", "sessionsOfAll", "256"},
		{auditPage, "64 are told at once", "proxy/dns", "refusals.go", "burst", "64"},
	} {
		if got := parse(t, n.dir, n.file).literal(t, n.name); got != n.value {
			t.Errorf("%s is %s; %s says %s", n.name, got, n.page, n.value)
		}
		if !strings.Contains(read(t, n.page), n.text) {
			t.Errorf("%s does not say %q", n.page, n.text)
		}
	}
	if !strings.Contains(read(t, "bpf/ledger.h"), "DENIALS_PER_SECOND = 64 ") || !strings.Contains(read(t, auditPage), "64 are told a second") {
		t.Errorf("%s and bpf/ledger.h differ in the denials of a second", auditPage)
	}
	_, err := policy.Parse("p", bytes.Repeat([]byte{'\n'}, 64<<10+1))
	if err == nil || !strings.Contains(err.Error(), "65536") || !strings.Contains(read(t, policyPage), "64 KiB") {
		t.Errorf("%s says 64 KiB, the parser %v", policyPage, err)
	}
}

// testsIn returns the test functions of a directory, whatever their build tags.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for _, file := range parse(t, dir, "_test.go") {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}

// Tests named in other documents exist too.
func TestKernelPageNamesTestsThatExist(t *testing.T) {
	there := testsIn(t, "test/redirect")
	for _, name := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(read(t, "docs/KERNEL.md"), -1) {
		if !there[name[1]] {
			t.Errorf("there is no %s in test/redirect", name[1])
		}
	}
}
