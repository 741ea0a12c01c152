// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const clientsPage = "docs/CLIENTS.md"

var clientRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| (the mount|a variable|its database) \| ([^|]* )?\|$`)

// TestEveryClientIsMeasured wants a row of the table for each client that the
// suites run and measure, and no other: what a row says is held by those suites,
// which read the page (rig.Needs).
func TestEveryClientIsMeasured(t *testing.T) {
	page := read(t, clientsPage)
	var rows []string
	for _, row := range clientRow.FindAllStringSubmatch(page, -1) {
		rows = append(rows, row[1])
	}
	if all := regexp.MustCompile(`(?m)^\| [^-|]`).FindAllString(page, -1); len(all) != len(rows)+1 { // the head
		t.Errorf("%d rows of %d say what a client needs", len(rows), len(all)-1)
	}
	var run []string
	for dir, file := range map[string]string{"test/clients": "clients_root_test.go", "test/agents": "agents_test.go"} {
		run = append(run, namesIn(t, dir, file)...)
	}
	run = append(run, measured(t, "test/agents", "chromium_test.go")...)
	slices.Sort(rows)
	slices.Sort(run)
	if diff := cmp.Diff(run, rows); diff != "" || len(rows) < 20 {
		t.Errorf("run by the suites (-), in the table (+):\n%s", diff)
	}
}

// namesIn are the texts behind "name:" in the lists of a file.
func namesIn(t *testing.T, dir, file string) (all []string) {
	parse(t, dir, file).each(func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "name" {
				all = append(all, texts(pair.Value)...)
			}
		}
		return true
	})
	return all
}

// measured are the clients that a file asks the page about by name.
func measured(t *testing.T, dir, file string) (all []string) {
	parse(t, dir, file).each(func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 2 {
			if callee, ok := call.Fun.(*ast.SelectorExpr); ok && callee.Sel.Name == "Needs" {
				all = append(all, texts(call.Args[1])...)
			}
		}
		return true
	})
	return all
}

// each visits every node.
func (s source) each(visit func(ast.Node) bool) {
	for _, file := range s {
		ast.Inspect(file, visit)
	}
}

// texts is the text that an expression is; none for another.
func texts(e ast.Expr) []string {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return nil
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return nil
	}
	return []string{text}
}
