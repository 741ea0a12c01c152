// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
)

const pluginPage = "docs/man/phantom-cni.8"

// The plugin's page has every key of its configuration, and no other.
func TestThePluginsKeysAreDescribed(t *testing.T) {
	keys := map[string]bool{}
	for _, file := range parse(t, "cmd/phantom-cni", "conf.go") {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Name.Name != "takeOwn" {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.CompositeLit); ok {
					keys[unquote(t, l.Elts[0].(*ast.BasicLit))] = true
				}
				return true
			})
		}
	}
	described := map[string]bool{}
	configuration := section(t, read(t, pluginPage), "CONFIGURATION")
	for _, m := range regexp.MustCompile(`(?m)^\.(?:It )?Cm (\w+)`).FindAllStringSubmatch(configuration, -1) {
		described[m[1]] = true
	}
	if diff := cmp.Diff(keys, described); diff != "" {
		t.Error(diff)
	}
}

// libraryCodes are what the protocol's library calls the codes that the plugin
// gives; skel gives the first for it.
var libraryCodes = map[string]uint{
	"ErrIncompatibleCNIVersion":      types.ErrIncompatibleCNIVersion,
	"ErrUnsupportedField":            types.ErrUnsupportedField,
	"ErrUnknownContainer":            types.ErrUnknownContainer,
	"ErrInvalidEnvironmentVariables": types.ErrInvalidEnvironmentVariables,
	"ErrIOFailure":                   types.ErrIOFailure,
	"ErrDecodingFailure":             types.ErrDecodingFailure,
	"ErrInvalidNetworkConfig":        types.ErrInvalidNetworkConfig,
	"ErrTryAgainLater":               types.ErrTryAgainLater,
	"ErrInternal":                    types.ErrInternal,
}

// The plugin's page has every code that it can give, and no other.
func TestThePluginsCodesAreDescribed(t *testing.T) {
	codes := map[uint]bool{types.ErrIncompatibleCNIVersion: true}
	for _, file := range parse(t, "cmd/phantom-cni", ".go") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "types" && n.Sel.Name[:3] == "Err" && n.Sel.Name != "Error" {
					code, known := libraryCodes[n.Sel.Name]
					if !known {
						t.Errorf("code %s is not known here", n.Sel.Name)
					}
					codes[code] = true
				}
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "uint" {
					codes[number(t, n.Values[0].(*ast.BasicLit).Value)] = true
				}
			}
			return true
		})
	}
	var described []uint
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+)$`).FindAllStringSubmatch(section(t, read(t, pluginPage), "ERRORS"), -1) {
		described = append(described, number(t, m[1]))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(codes)), described); diff != "" {
		t.Error(diff)
	}
}

func number(t *testing.T, text string) uint {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint(n)
}
