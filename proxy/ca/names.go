// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"fmt"
	"strings"
)

// nameSet checks the names an authority is for. Nil stays nil.
func nameSet(names []string) (map[string]struct{}, error) {
	if names == nil {
		return nil, nil
	}
	set := make(map[string]struct{}, len(names))
	for _, name := range names {
		if err := checkName(strings.TrimPrefix(name, "*.")); err != nil {
			return nil, err
		}
		set[name] = struct{}{}
	}
	return set, nil
}

// permits reports whether host is listed, or below a wildcard's name at any
// depth.
func (a *Authority) permits(host string) bool {
	if a.names == nil {
		return true
	}
	if _, ok := a.names[host]; ok {
		return true
	}
	for rest := host; ; {
		_, parent, found := strings.Cut(rest, ".")
		if !found {
			return false
		}
		if _, ok := a.names["*."+parent]; ok {
			return true
		}
		rest = parent
	}
}

// checkName accepts what a certificate may name: lower-case letters, digits
// and inner hyphens in labels of at most 63, 253 in all (RFC 1035, section
// 2.3), and no number as the last label, which some resolvers read as an IPv4
// address. Callers canonicalise; this only refuses what they let slip.
func checkName(host string) error {
	if len(host) == 0 || len(host) > 253 {
		return fmt.Errorf("host name of %d octets", len(host))
	}
	label := ""
	for label = range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return fmt.Errorf("host %q is not a plain lower-case name", host)
		}
	}
	if isNumber(label) {
		return fmt.Errorf("host %q is an address or ends like one", host)
	}
	return nil
}

func isLabel(label string) bool {
	if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// isNumber follows the WHATWG URL standard's "ends in a number": decimal
// digits, or 0x and hexadecimal digits.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
