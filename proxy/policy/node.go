// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a file. The YAML parser takes time quadratic in keys and nesting:
// 22 s for 64,000 opening brackets, half a second for the worst file within
// these limits. A policy of a page stays far below.
const (
	maxFile     = 64 << 10 // octets
	maxDepth    = 16       // levels
	maxBrackets = 64       // open at once, those in text and comments included
)

// kind of a node: the part of YAML a policy is written in.
type kind int

const (
	isText kind = iota
	isInteger
	isOther // boolean, float, null: no key takes them
	isList
	isMap
)

func (k kind) String() string {
	return [...]string{"text", "an integer", "a null, boolean or float", "a list", "a mapping"}[k]
}

// node is a value of a file and where it stands.
type node struct {
	kind         kind
	text         string
	items        []*node
	entries      []entry
	line, column int
}

// entry is one key of a mapping.
type entry struct {
	key   *node
	value *node
}

// reader reads one file.
type reader struct {
	file        string
	data        []byte
	unsupported map[string]bool // keys and values without a mechanism, see support.go
}

// fail makes the error for the place of n.
func (r *reader) fail(n *node, format string, args ...any) error {
	return r.failAt(n.line, n.column, fmt.Sprintf(format, args...))
}

func (r *reader) failAt(line, column int, message string) error {
	return &ParseError{File: r.file, Line: line, Column: column, Message: message, Excerpt: excerpt(r.data, line)}
}

// rule is the provenance of what n declares.
func (r *reader) rule(n *node) string { return fmt.Sprintf("%s:%d", r.file, n.line) }

// tree parses the file into nodes. Whatever makes two readers of the same YAML
// disagree is refused: several documents, anchors, tags, merge keys, a key
// twice, a key that is no text.
func (r *reader) tree() (*node, error) {
	if len(r.data) > maxFile {
		return nil, r.failAt(1, 1, fmt.Sprintf("longer than %d octets", maxFile))
	}
	if !utf8.Valid(r.data) {
		return nil, r.failAt(1, 1, "not UTF-8")
	}
	if openBrackets(r.data) > maxBrackets {
		return nil, r.failAt(1, 1, "brackets nested too deep")
	}
	file, err := parser.ParseBytes(r.data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, r.syntax(err)
	}
	if len(file.Docs) > 1 {
		return nil, r.at(file.Docs[1].GetToken(), "a second document")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		return nil, r.failAt(1, 1, "empty; a policy begins with version: 1")
	}
	return r.convert(file.Docs[0].Body, 0)
}

// openBrackets counts how many flow collections could be open at once.
func openBrackets(data []byte) int {
	depth, deepest := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}

// syntax hides the parser's own words: they quote the file.
func (r *reader) syntax(err error) error {
	var located yaml.Error
	if errors.As(err, &located) {
		return r.at(located.GetToken(), "not valid YAML")
	}
	return r.failAt(1, 1, "not valid YAML")
}

func (r *reader) at(t *token.Token, message string) error {
	if t == nil || t.Position == nil {
		return r.failAt(1, 1, message)
	}
	return r.failAt(t.Position.Line, t.Position.Column, message)
}

func (r *reader) convert(n ast.Node, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, r.at(n.GetToken(), fmt.Sprintf("nested deeper than %d levels", maxDepth))
	}
	out := place(n)
	switch n := n.(type) {
	case *ast.StringNode:
		out.kind, out.text = isText, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = isText, n.Value.Value
	case *ast.IntegerNode:
		out.kind, out.text = isInteger, n.GetToken().Value
	case *ast.BoolNode, *ast.FloatNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		out.kind = isOther
	case *ast.SequenceNode:
		out.kind = isList
		return out, r.convertList(out, n, depth)
	case *ast.MappingNode:
		out.kind = isMap
		return out, r.convertMap(out, n, depth)
	case *ast.AnchorNode, *ast.AliasNode:
		return nil, r.fail(out, `anchors and aliases are not accepted; quote text that begins with "*" or "&"`)
	default:
		return nil, r.fail(out, "a kind of YAML that a policy does not use")
	}
	return out, nil
}

func place(n ast.Node) *node {
	out := &node{line: 1, column: 1}
	if t := n.GetToken(); t != nil && t.Position != nil {
		out.line, out.column = t.Position.Line, t.Position.Column
	}
	return out
}

func (r *reader) convertList(out *node, n *ast.SequenceNode, depth int) error {
	for _, value := range n.Values {
		item, err := r.convert(value, depth+1)
		if err != nil {
			return err
		}
		out.items = append(out.items, item)
	}
	return nil
}

func (r *reader) convertMap(out *node, n *ast.MappingNode, depth int) error {
	seen := make(map[string]bool)
	for i, pair := range n.Values {
		key, err := r.convertKey(pair.Key)
		if err != nil {
			return err
		}
		if i == 0 && !n.IsFlowStyle { // the node's own token is a colon
			out.line, out.column = key.line, key.column
		}
		if seen[key.text] {
			return r.fail(key, "the same key twice")
		}
		seen[key.text] = true
		value, err := r.convert(pair.Value, depth+1)
		if err != nil {
			return err
		}
		out.entries = append(out.entries, entry{key: key, value: value})
	}
	return nil
}

func (r *reader) convertKey(n ast.MapKeyNode) (*node, error) {
	out := place(n)
	text, ok := n.(*ast.StringNode)
	if !ok {
		return nil, r.fail(out, "a key that is no plain text")
	}
	out.text = text.Value
	return out, nil
}
