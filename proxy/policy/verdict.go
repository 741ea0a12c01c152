// SPDX-License-Identifier: Apache-2.0

package policy

import "net/netip"

// Reasons of this package's verdicts: words of the audit record's closed list.
const (
	ReasonAllowed      = "allowed"
	ReasonHost         = "host_not_allowed"
	ReasonPort         = "port_not_allowed"
	ReasonAddress      = "address_not_allowed"
	ReasonProtocol     = "protocol_not_allowed" // a request where only bytes pass: tcp or passthrough
	ReasonMethod       = "method_not_allowed"
	ReasonPath         = "path_not_allowed"
	ReasonTarget       = "bad_target"         // the path has two readings, or is none
	ReasonPlaintext    = "plaintext"          // a credential over http
	ReasonNoCredential = "no_credential"      // a credential is bound here and none came
	ReasonForeign      = "foreign_credential" // a credential that is not the session's
	ReasonUnbound      = "unbound_placeholder"
	ReasonDuplicate    = "duplicate_credential" // one of the session's and another
)

// Connect is the verdict on a connection, before a byte of it is read.
type Connect struct {
	Allow       bool
	Reason      string
	Protocol    Protocol
	Passthrough bool          // splice after the SNI is checked
	Credentials []*Credential // usable here; shared, not to be changed
	// Usable are Credentials and those that an answer may give; AtEndpoint are
	// those that count at a capture's path: all of Usable, and what is used there
	// alone.
	Usable, AtEndpoint []*Credential
	Rule               string
}

// Request is what is judged of one HTTP request.
type Request struct {
	Host       string // canonical
	Port       uint16
	Method     string // as on the wire
	Path       string // as on the wire, still encoded, without the query
	Credential *Credential
	Bare       bool // no credential of any kind; also assumed when neither Credential nor Foreign is set
	Foreign    bool // carries a credential that is not the session's
	// Carries is set when the request carries bytes of its own upstream though its
	// method reads: an upgrade, or a body. Without a credential it is a write.
	Carries bool
}

// Verdict on a request. Status is what the agent is answered when Allow is
// false: 400, 401 or 403.
type Verdict struct {
	Allow     bool
	Reason    string
	Status    int
	Rule      string // the line that decided, or the entry that has no such line
	Hint      string // for a person: what to do next; holds nothing of the request
	Challenge string // WWW-Authenticate, with status 401
}

// Target says where and how to dial a name.
type Target struct {
	Connect  string         // HOST:PORT to dial; the name stays the identity
	CA       []byte         // PEM of an extra root for this name, or nil
	Networks []netip.Prefix // otherwise refused ranges that it may be in
	// Near is set where the policy itself says where the name is, by connect or
	// by networks of its own: it is dialled without the network's proxy.
	Near bool
}
