// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// anyMethod in an allow list stands for every method but those below.
const anyMethod = "*"

// neverSent are methods that would make the upstream a tunnel or an echo of the
// credential.
var neverSent = []string{http.MethodConnect, http.MethodTrace, "TRACK"}

// splitAllow reads "METHOD GLOB".
func splitAllow(text string) (method, pattern string, err error) {
	method, pattern, found := strings.Cut(text, " ")
	switch {
	case !found:
		return "", "", errors.New(`want "METHOD GLOB", as in "GET /v1/**"`)
	case method != anyMethod && (method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != ""):
		return "", "", errors.New("a method is in upper case, or * for any")
	case slices.Contains(neverSent, method):
		return "", "", errors.New("CONNECT, TRACE and TRACK are never sent upstream")
	}
	_, err = compileGlob(pattern)
	return method, pattern, err
}

// reads are the rules of a host without a credential and without a list.
func reads(rule string) []Allow {
	return []Allow{{http.MethodGet, anyPath, rule}, {http.MethodHead, anyPath, rule}}
}

// everything is the rule of a credential without a list.
func everything(rule string) []Allow { return []Allow{{anyMethod, anyPath, rule}} }

// line is a compiled [Allow].
type line struct {
	method string
	glob   *glob
	rule   string
}

// list is a compiled allow list. An empty one allows nothing.
type list []line

func compileList(allow []Allow) (list, error) {
	out := make(list, 0, len(allow))
	for _, a := range allow {
		g, err := compileGlob(a.Glob)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Rule, err)
		}
		out = append(out, line{method: a.Method, glob: g, rule: a.Rule})
	}
	return out, nil
}

// judge looks for the first line that admits method and the encoded path. rule
// is what a refusal names.
func (l list) judge(method, raw, rule string) Verdict {
	path, r := readPath(raw)
	if r == malformed {
		return refuse(ReasonTarget, http.StatusBadRequest, rule, "send an absolute path in its percent-encoded form")
	}
	if slices.Contains(neverSent, method) {
		return refuse(ReasonMethod, http.StatusForbidden, rule, "CONNECT, TRACE and TRACK are never sent upstream")
	}
	onPath, globbed := false, false
	for i := range l {
		entry := &l[i]
		globbed = globbed || !entry.glob.any
		if !entry.admits(path, r) {
			continue
		}
		onPath = true
		if entry.method == anyMethod || entry.method == method {
			return Verdict{Allow: true, Reason: ReasonAllowed, Rule: entry.rule}
		}
	}
	switch {
	case r == ambiguous && globbed:
		return refuse(ReasonTarget, http.StatusBadRequest, rule,
			"the path has an encoded slash, a dot or an empty segment: write it plainly, or allow every path with *")
	case onPath:
		return refuse(ReasonMethod, http.StatusForbidden, rule, "the path is allowed, the method is not: see the allow list of the rule")
	}
	return refuse(ReasonPath, http.StatusForbidden, rule, "no line of the rule's allow list matches the path")
}

// admits reports whether the line covers the path, whatever the method.
func (l *line) admits(path string, r reading) bool {
	if r != plain {
		return l.glob.any
	}
	return l.glob.match(path)
}

func refuse(reason string, status int, rule, hint string) Verdict {
	return Verdict{Reason: reason, Status: status, Rule: rule, Hint: hint}
}
