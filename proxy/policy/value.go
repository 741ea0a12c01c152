// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// keys is the closed set of keys of one kind of mapping and what reads each.
type keys[T any] map[string]func(*reader, *node, *T) error

// readMap reads every key of n into *into and returns the keys that were there.
// where is the mapping's path in [unsupported] and in messages; "" is the root.
func readMap[T any](r *reader, n *node, where string, table keys[T], into *T) (map[string]*node, error) {
	if n.kind != isMap {
		return nil, r.fail(n, "%swant a mapping, found %s", label(where), n.kind)
	}
	given := make(map[string]*node, len(n.entries))
	for _, e := range n.entries {
		read, known := table[e.key.text]
		if !known {
			return nil, r.fail(e.key, "%sunknown key; known: %s", label(where), strings.Join(slices.Sorted(maps.Keys(table)), ", "))
		}
		if err := r.supported(e.key, join(where, e.key.text)); err != nil {
			return nil, err
		}
		if err := read(r, e.value, into); err != nil {
			return nil, err
		}
		given[e.key.text] = e.value
	}
	return given, nil
}

func label(where string) string {
	if where == "" {
		return ""
	}
	return where + ": "
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

// supported refuses a key or value whose mechanism is not in this build: a
// security option that is accepted is in force.
func (r *reader) supported(n *node, path string) error {
	if r.unsupported[path] {
		return r.fail(n, "not supported by this build: %s", path)
	}
	return nil
}

// str reads one line of text that is not empty.
func (r *reader) str(n *node, where string) (string, error) {
	switch {
	case n.kind == isInteger || n.kind == isOther:
		return "", r.fail(n, "%s: want text, found %s; put it in quotes if it is meant as text", where, n.kind)
	case n.kind != isText:
		return "", r.fail(n, "%s: want text, found %s", where, n.kind)
	case n.text == "":
		return "", r.fail(n, "%s: empty", where)
	case strings.ContainsFunc(n.text, unicode.IsControl):
		return "", r.fail(n, "%s: a control character", where)
	}
	return n.text, nil
}

// integer reads a plain decimal between low and high.
func (r *reader) integer(n *node, where string, low, high int) (int, error) {
	if n.kind != isInteger {
		return 0, r.fail(n, "%s: want an integer, found %s", where, n.kind)
	}
	value, err := strconv.Atoi(n.text)
	if err != nil || strconv.Itoa(value) != n.text || value < low || value > high {
		return 0, r.fail(n, "%s: want a decimal integer from %d to %d", where, low, high)
	}
	return value, nil
}

// choice reads one word of a closed list.
func (r *reader) choice(n *node, where string, words ...string) (string, error) {
	text, err := r.str(n, where)
	if err != nil {
		return "", err
	}
	if !slices.Contains(words, text) {
		return "", r.fail(n, "%s: want one of %s", where, strings.Join(words, ", "))
	}
	return text, r.supported(n, where+": "+text)
}

// readList reads each item of a list. The result is not nil.
func readList[T any](r *reader, n *node, where string, read func(*reader, *node) (T, error)) ([]T, error) {
	if n.kind != isList {
		return nil, r.fail(n, "%s: want a list, found %s", where, n.kind)
	}
	out := make([]T, 0, len(n.items))
	for _, item := range n.items {
		value, err := read(r, item)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, nil
}

// readSome is readList for a list that must not be empty: an empty one would
// make its owner useless, and elsewhere meant "all".
func readSome[T any](r *reader, n *node, where string, read func(*reader, *node) (T, error)) ([]T, error) {
	out, err := readList(r, n, where, read)
	if err == nil && len(out) == 0 {
		err = r.fail(n, "%s: an empty list", where)
	}
	return out, err
}
