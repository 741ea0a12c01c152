// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// source is the syntax of one directory's Go files.
type source []*ast.File

// parse reads the Go files of a directory whose names have the suffix; those of
// tests alone, or none of them.
func parse(t *testing.T, dir, suffix string) source {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	var all source
	for _, e := range entries {
		isTest := strings.HasSuffix(e.Name(), "_test.go")
		if !strings.HasSuffix(e.Name(), suffix) || isTest != strings.HasSuffix(suffix, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	return all
}

// value returns what a package variable or constant is set to.
func (s source) value(t *testing.T, name string) ast.Expr {
	t.Helper()
	for _, file := range s {
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, n := range v.Names {
					if n.Name == name && i < len(v.Values) {
						return v.Values[i]
					}
				}
			}
		}
	}
	t.Fatalf("nothing is called %s", name)
	return nil
}

// rows returns the literals in each row of a table, in order.
func rows(t *testing.T, table ast.Expr) [][]string {
	t.Helper()
	literal, ok := table.(*ast.CompositeLit)
	if !ok {
		t.Fatalf("table is a %T", table)
	}
	var all [][]string
	for _, element := range literal.Elts {
		var row []string
		ast.Inspect(element, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok {
				row = append(row, unquote(t, l))
			}
			return true
		})
		all = append(all, row)
	}
	return all
}

func unquote(t *testing.T, l *ast.BasicLit) string {
	t.Helper()
	if l.Kind != token.STRING {
		return l.Value
	}
	text, err := strconv.Unquote(l.Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// literal returns a constant written as a literal.
func (s source) literal(t *testing.T, name string) string {
	t.Helper()
	l, ok := s.value(t, name).(*ast.BasicLit)
	if !ok {
		t.Fatalf("%s is no literal", name)
	}
	return unquote(t, l)
}
