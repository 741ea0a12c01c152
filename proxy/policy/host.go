// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of RFC 1035 section 2.3.4, in octets, without the root's own label.
const (
	maxHost  = 253
	maxLabel = 63
)

// ErrHost is wrapped by every error of [Canonical].
var ErrHost = errors.New("bad host name")

// Canonical returns the one spelling of host that policy, minting, dialling and
// logging use: lower case, one trailing dot removed. It accepts letter, digit
// and hyphen labels of 1 to 63 octets, 253 in all, and nothing else:
//
//   - no underscore: no public certificate may carry one (CA/Browser Forum
//     ballot SC12), so no name with it could be verified upstream;
//   - no last label that a resolver may read as a number (digits, or 0x and
//     hexadecimal digits): so no IPv4 address in any form of inet_aton;
//   - no label beginning with "xn--": this build cannot tell a valid A-label
//     from a forged one;
//   - nothing outside ASCII, and no control, space, percent sign, bracket,
//     colon, comma, at sign or asterisk.
//
// A host that is canonical already is returned as it is, without allocation.
// Errors wrap [ErrHost] and do not quote host.
func Canonical(host string) (string, error) {
	name := strings.TrimSuffix(host, ".")
	if name == "" {
		return "", fmt.Errorf("%w: empty", ErrHost)
	}
	if len(name) > maxHost {
		return "", fmt.Errorf("%w: longer than %d octets", ErrHost, maxHost)
	}
	upper, err := checkOctets(name)
	if err != nil {
		return "", err
	}
	if upper {
		name = strings.ToLower(name) // ASCII alone reaches this line
	}
	if err := checkLabels(name); err != nil {
		return "", err
	}
	return name, nil
}

// checkOctets refuses whatever is no letter, digit, hyphen or dot, and tells
// whether there is an upper-case letter.
func checkOctets(name string) (upper bool, err error) {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.':
		case c >= 'A' && c <= 'Z':
			upper = true
		default:
			return false, fmt.Errorf("%w: octet 0x%02x at %d", ErrHost, c, i)
		}
	}
	return upper, nil
}

// checkLabels wants name in lower case.
func checkLabels(name string) error {
	for rest := name; ; {
		label, after, more := strings.Cut(rest, ".")
		switch {
		case label == "":
			return fmt.Errorf("%w: empty label", ErrHost)
		case len(label) > maxLabel:
			return fmt.Errorf("%w: label longer than %d octets", ErrHost, maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("%w: label begins or ends with a hyphen", ErrHost)
		case strings.HasPrefix(label, "xn--"):
			return fmt.Errorf("%w: punycode label", ErrHost)
		case !more && numeric(label):
			return fmt.Errorf("%w: last label is a number", ErrHost)
		case !more:
			return nil
		}
		rest = after
	}
}

// numeric reports what the WHATWG URL standard calls "ends in a number": the
// last label decides whether a resolver may take the host for an address.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// canonicalPattern is Canonical for a host, or "*." and a host. The wildcard
// stands for one or more whole labels, so it never matches the apex.
func canonicalPattern(text string) (string, error) {
	base, wild := strings.CutPrefix(text, "*.")
	if !wild {
		return Canonical(text)
	}
	name, err := Canonical(base)
	if err != nil {
		return "", err
	}
	if !strings.Contains(name, ".") {
		return "", fmt.Errorf("%w: wildcard over a whole top-level domain", ErrHost)
	}
	return "*." + name, nil
}

// covers reports whether every host that inner matches is matched by outer; both
// are canonical patterns.
func covers(outer, inner string) bool {
	if outer == inner {
		return true
	}
	suffix, wild := strings.CutPrefix(outer, "*")
	return wild && strings.HasSuffix(inner, suffix) && inner != suffix[1:]
}
