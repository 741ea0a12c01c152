// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"io"
	"net/netip"
)

var errUnbuilt = errors.New("policy: not built yet")

// File is a parsed policy.
type File struct{ Name string }

// Flags are the command line's additions to a policy.
type Flags struct {
	With  []string // names of stored credentials
	Allow []string // HOST[:PORT]
}

// Stored looks a stored credential up: the hosts recorded with it and its
// provider ("" for none).
type Stored func(name string) (hosts []string, provider string, ok bool)

// Shape says what a placeholder looks like.
type Shape struct {
	Mode      string   `json:"mode"`                // "shape", "name" or "template"
	Templates []string `json:"templates,omitempty"` // the first that fits the length counts
}

// Rules answers the proxy's questions. It is read-only.
type Rules struct{}

// Parse reads a policy.
func Parse(file string, data []byte) (*File, error) { return nil, errUnbuilt }

// Resolve builds a session.
func Resolve(file *File, flags Flags, stored Stored) (*Session, error) { return nil, errUnbuilt }

// Compile builds the rules of a session.
func Compile(s *Session) (*Rules, error) { return nil, errUnbuilt }

// Name reports whether any entry covers host.
func (r *Rules) Name(host string) bool { return false }

// Names returns the hosts and "*." patterns that may be minted for, and whether
// that list is complete for the whole session.
func (r *Rules) Names() (names []string, closed bool) { return []string{}, true }

// Connect judges a connection to a canonical host.
func (r *Rules) Connect(host string, port uint16) Connect { return Connect{Reason: ReasonHost} }

// Address judges a connection to an address of a declared network.
func (r *Rules) Address(to netip.AddrPort) Connect { return Connect{Reason: ReasonAddress} }

// Declared returns the networks of address entries.
func (r *Rules) Declared() []netip.Prefix { return nil }

// Request judges one request.
func (r *Rules) Request(q Request) Verdict {
	return Verdict{Reason: ReasonHost, Status: 403}
}

// Target says where host is dialled.
func (r *Rules) Target(host string, port uint16) Target { return Target{} }

// Placeholder makes a placeholder for cred as long as the real credential,
// length octets, with at least 128 bits of rand.
func Placeholder(cred Credential, length int, tailSeed []byte, rand io.Reader) (string, error) {
	return "", errUnbuilt
}
