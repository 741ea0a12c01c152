// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

const auditPage = "docs/man/phantom-ns-audit.5"

// recordKeys are the keys of a record, in the order in which they are written.
func recordKeys() []string {
	var keys []string
	for f := range reflect.TypeFor[audit.Record]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}

func TestAuditPageHasEveryKey(t *testing.T) {
	got := heads(items(section(t, read(t, auditPage), "RECORD"), "Cm"))
	if diff := cmp.Diff(recordKeys(), got); diff != "" {
		t.Errorf("record (-), page (+):\n%s", diff)
	}
}

func TestAuditPageHasEveryKind(t *testing.T) {
	var want []string
	for _, kind := range audit.Kinds() {
		want = append(want, string(kind))
	}
	if diff := cmp.Diff(want, heads(items(section(t, read(t, auditPage), "KINDS"), "Li"))); diff != "" {
		t.Errorf("kinds (-), page (+):\n%s", diff)
	}
}

// reasonList is the list of reasons with their meanings.
func reasonList(*testing.T) string {
	var out strings.Builder
	out.WriteString(".Bl -tag -width Ds\n")
	for _, entry := range audit.Reasons() {
		fmt.Fprintf(&out, ".It Li %s\n%s.\n", entry.Reason, entry.Meaning)
	}
	out.WriteString(".El\n")
	return out.String()
}

func TestAuditPageHasEveryReason(t *testing.T) {
	var want []item
	for _, entry := range audit.Reasons() {
		want = append(want, item{string(entry.Reason), entry.Meaning})
	}
	got := items(section(t, read(t, auditPage), "REASONS"), "Li")
	for i := range got {
		line, _, _ := strings.Cut(got[i].text, "\n")
		got[i].text = strings.TrimSuffix(line, ".")
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(item{})); diff != "" {
		t.Errorf("reasons (-), page (+):\n%s", diff)
	}
}

var constant = regexp.MustCompile(`^Reason[A-Z]`)

// A reason that nothing gives says so.
func TestEveryReasonIsGiven(t *testing.T) {
	given := make(map[string]bool)
	for _, r := range bpf.Reasons() {
		given[r.String()] = true
	}
	take := func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			for _, text := range texts(e) {
				given[text] = true
			}
		}
		return true
	}
	parse(t, "proxy/policy", "verdict.go").each(take)
	list := parse(t, "proxy/audit", "reason.go")
	for _, dir := range []string{"proxy", "proxy/dns", "enforcer"} {
		parse(t, dir, ".go").each(func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && constant.MatchString(s.Sel.Name) && fmt.Sprint(s.X) == "audit" {
				take(list.value(t, s.Sel.Name))
			}
			return true
		})
	}
	for _, entry := range audit.Reasons() {
		if given[string(entry.Reason)] == strings.HasSuffix(entry.Meaning, "; not written by this build") {
			t.Errorf("%s: given is %t, and the page says: %s", entry.Reason, given[string(entry.Reason)], entry.Meaning)
		}
	}
}

var atMost = regexp.MustCompile(`At most (\d+) bytes`)

// The limits of strings are measured: each key of a record gets a long one.
func TestAuditPageStatesTheLimits(t *testing.T) {
	long := audit.Record{Kind: audit.KindRequest, Verdict: audit.Allow, Reason: audit.ReasonAllowed, PID: 1}
	value := reflect.ValueOf(&long).Elem()
	for i := range value.NumField() {
		if f := value.Field(i); f.Type() == reflect.TypeFor[string]() {
			f.SetString(strings.Repeat("a", 4<<10))
		}
	}
	var line bytes.Buffer
	if err := audit.NewEncoder(&line).Write(long); err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(line.Bytes(), &written); err != nil {
		t.Fatal(err)
	}
	page := section(t, read(t, auditPage), "RECORD")
	for _, i := range items(page, "Cm") {
		want := ""
		if text, ok := written[i.head].(string); ok && strings.HasPrefix(text, "aaaa") {
			want = strconv.Itoa(len(text))
		}
		got := ""
		if m := atMost.FindStringSubmatch(i.text); m != nil {
			got = m[1]
		}
		if want != "" && got != want {
			t.Errorf("%s: the page says at most %q bytes, the record has %q", i.head, got, want)
		}
	}
	if !has(read(t, auditPage), strconv.Itoa(audit.MaxLine)) {
		t.Errorf("the page does not say that a line has at most %d bytes", audit.MaxLine)
	}
}
