// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// This package is a leaf and does not import the audit record; its words are
// the record's all the same.
func TestReasonsAreOfTheClosedList(t *testing.T) {
	closed := make(map[string]bool)
	for _, entry := range audit.Reasons() {
		closed[string(entry.Reason)] = true
	}
	file, err := parser.ParseFile(token.NewFileSet(), "verdict.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err == nil && text != "net/netip" {
			count++
			if !closed[text] {
				t.Errorf("%q is not in the audit record's list", text)
			}
		}
		return true
	})
	if count == 0 {
		t.Error("no reason found")
	}
}
