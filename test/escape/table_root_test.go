// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// golden is the table of ways. Its head says what the columns are.
const golden = "ways"

const (
	same    = "=" // for root of a user namespace, what the user's column says
	nothing = "-" // no record
)

// seen is what a way came to: an outcome and its records. In the table it may
// hold alternatives.
type seen struct{ outcome, records string }

// row is one line of the table.
type row struct {
	id, name    string
	agent, root seen
}

type table []row

func readTable(t *testing.T) table {
	t.Helper()
	var all table
	for _, line := range readLines(t, golden, 6) {
		all = append(all, row{line[0], line[1], seen{line[2], line[3]}, seen{line[4], line[5]}})
	}
	return all
}

func (all table) index(name string) int {
	return slices.IndexFunc(all, func(r row) bool { return r.name == name })
}

// outcomes reads what the agent printed: a name and a word on each line.
func outcomes(t *testing.T, stdout string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for line := range strings.Lines(stdout) {
		name, outcome, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.Contains(outcome, " ") {
			t.Fatalf("the agent printed %q", line)
		}
		all[name] = outcome
	}
	return all
}

// asked are names that a way asks for and that do not carry its own.
var asked = map[string]string{
	"escape.test": "dns_apex", "metadata.google.internal": "dns_meta", "7.2.0.192.in-addr.arpa": "dns_ptr",
}

// records tells for each way which records it left: kind/reason, sorted, each
// once. The program's own name stands for what no way owns up to.
func records(all []audit.Record) map[string]string {
	found := make(map[string][]string)
	for _, r := range all {
		if r.Kind == audit.KindSession {
			continue
		}
		who := r.Comm
		if r.Kind == audit.KindDNS {
			label, _, _ := strings.Cut(r.Name, ".")
			who = strings.ReplaceAll(label, "-", "_")
			if way, ok := asked[r.Name]; ok {
				who = way
			}
		}
		what := fmt.Sprintf("%s/%s", r.Kind, r.Reason)
		if r.Suppressed > 0 {
			what += fmt.Sprintf("+%d", r.Suppressed)
		}
		found[who] = append(found[who], what)
	}
	words := make(map[string]string)
	for who, list := range found {
		slices.Sort(list)
		words[who] = strings.Join(slices.Compact(list), "+")
	}
	return words
}

// column is one way of running the agent.
type column struct {
	name   string
	mode   string // of the program
	policy string // added
	root   bool   // the table's third column
}

var columns = []column{
	{"agent", "all", "", false},
	{"daemon", "daemon", "", false},
	{"namespace root", "root", "permit: [nested_sandbox]\n", true},
}

// want is what the table says for a column.
func (r row) want(c column) seen {
	want := r.agent
	if c.root && r.root.outcome != same {
		want.outcome = r.root.outcome
	}
	if c.root && r.root.records != same {
		want.records = r.root.records
	}
	return want
}

// is reports whether got is one of the alternatives of want.
func is(want, got string) bool { return slices.Contains(strings.Split(want, "|"), got) }

// write puts the table back with what was seen, for a person to review: on an
// older kernel the lines that differ, in the file for such kernels.
func (all table) write(t *testing.T) {
	t.Helper()
	path := "testdata/" + golden + ".txt"
	var newest []string
	if others := older(t, golden); len(others) > 0 {
		for _, line := range splitLines(t, path, 6) {
			newest = append(newest, strings.Join(line, " "))
		}
		path = others[0]
	}
	text := comments(t, path)
	for _, r := range all {
		words := []string{r.id, r.name, r.agent.outcome, r.agent.records, r.root.outcome, r.root.records}
		if !slices.Contains(newest, strings.Join(words, " ")) {
			text += fmt.Sprintf("%-4s %-15s %s\n", r.id, r.name, strings.Join(words[2:], "  "))
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
