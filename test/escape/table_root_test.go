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
const golden = "testdata/ways.txt"

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
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var all table
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 6 {
			t.Fatalf("%s: %q has %d columns instead of 6", golden, line, len(fields))
		}
		all = append(all, row{fields[0], fields[1], seen{fields[2], fields[3]}, seen{fields[4], fields[5]}})
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

// write puts the table back with what was seen, for a person to review.
func (all table) write() error {
	var text strings.Builder
	data, err := os.ReadFile(golden)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			text.WriteString(line)
		}
	}
	for _, r := range all {
		fmt.Fprintf(&text, "%-4s %-15s %s  %s  %s  %s\n", r.id, r.name, r.agent.outcome, r.agent.records, r.root.outcome, r.root.records)
	}
	return os.WriteFile(golden, []byte(text.String()), 0o644)
}
