// SPDX-License-Identifier: Apache-2.0

package audit

// Reason says why a decision was taken: one word of a closed list, snake_case.
type Reason string

// The closed list of reasons. What each means is in the table below, which
// [Reasons] returns.
const (
	ReasonAllowed Reason = "allowed"

	// The kernel half; the words are those of package bpf.
	ReasonSession    Reason = "session"
	ReasonListener   Reason = "listener"
	ReasonUndeclared Reason = "undeclared"
	ReasonDevice     Reason = "device"
	ReasonUDP        Reason = "udp"
	ReasonProtocol   Reason = "protocol"
	ReasonStorage    Reason = "storage"
	ReasonInterface  Reason = "interface"
	ReasonPacket     Reason = "packet"
	ReasonInflight   Reason = "inflight"
	ReasonOrphan     Reason = "orphan"

	// The kernel half's fence at the host's end of a pod's link.
	ReasonUnsolicited Reason = "unsolicited"
	ReasonSpoofed     Reason = "spoofed"
	ReasonFrame       Reason = "frame"
	ReasonFlows       Reason = "flows"
	ReasonMembership  Reason = "membership"

	// The kernel half's LSM programs.
	ReasonUnix   Reason = "unix"
	ReasonFamily Reason = "family"

	// The name stub.
	ReasonNameNotAllowed Reason = "name_not_allowed"
	ReasonQueryType      Reason = "query_type"
	ReasonBadQuery       Reason = "bad_query"
	ReasonExhausted      Reason = "exhausted"

	// The connection and its TLS.
	ReasonOriginMissing Reason = "origin_missing"
	ReasonNoSNI         Reason = "no_sni"
	ReasonBadName       Reason = "bad_name"
	ReasonNameMismatch  Reason = "name_mismatch"
	ReasonHandshake     Reason = "handshake"

	// The request as HTTP.
	ReasonBadRequest   Reason = "bad_request"
	ReasonBadFraming   Reason = "bad_framing"
	ReasonBadTarget    Reason = "bad_target"
	ReasonBadMethod    Reason = "bad_method"
	ReasonBadHeader    Reason = "bad_header"
	ReasonBadScheme    Reason = "bad_scheme"
	ReasonBadVersion   Reason = "bad_version"
	ReasonBadUpgrade   Reason = "bad_upgrade"
	ReasonHostMismatch Reason = "host_mismatch"

	// The policy.
	ReasonHostNotAllowed      Reason = "host_not_allowed"
	ReasonAddressNotAllowed   Reason = "address_not_allowed"
	ReasonPortNotAllowed      Reason = "port_not_allowed"
	ReasonProtocolNotAllowed  Reason = "protocol_not_allowed"
	ReasonMethodNotAllowed    Reason = "method_not_allowed"
	ReasonPathNotAllowed      Reason = "path_not_allowed"
	ReasonPlaintext           Reason = "plaintext"
	ReasonNoCredential        Reason = "no_credential"
	ReasonForeignCredential   Reason = "foreign_credential"
	ReasonDuplicateCredential Reason = "duplicate_credential"
	ReasonMisplaced           Reason = "misplaced_placeholder"
	ReasonUnbound             Reason = "unbound_placeholder"
	ReasonBadSignature        Reason = "bad_signature"
	ReasonApproval            Reason = "approval"
	ReasonApprovalTimeout     Reason = "approval_timeout"

	// The upstream.
	ReasonResolve               Reason = "resolve"
	ReasonDialRefused           Reason = "dial_refused"
	ReasonUpstreamUnreachable   Reason = "upstream_unreachable"
	ReasonUpstreamTLS           Reason = "upstream_tls"
	ReasonUpstreamTimeout       Reason = "upstream_timeout"
	ReasonBadResponse           Reason = "bad_response"
	ReasonCredentialUnavailable Reason = "credential_unavailable"

	// Limits.
	ReasonHeaderLimit     Reason = "header_limit"
	ReasonBodyLimit       Reason = "body_limit"
	ReasonConnectionLimit Reason = "connection_limit"
	ReasonStreamLimit     Reason = "stream_limit"
	ReasonRateLimit       Reason = "rate_limit"
	ReasonTimeout         Reason = "timeout"
	ReasonAuditFull       Reason = "audit_full"
	ReasonInternal        Reason = "internal"

	// The session.
	ReasonSessionStart Reason = "session_start"
	ReasonSessionEnd   Reason = "session_end"
	ReasonKeyAtRest    Reason = "key_at_rest"
	ReasonGuessing     Reason = "guessing"
	ReasonReload       Reason = "reload"
	ReasonExec         Reason = "exec"
)

// Entry is one line of the list of reasons.
type Entry struct {
	Reason  Reason
	Meaning string // one line, lower case, without a full stop
}

var reasons = [...]Entry{
	{ReasonAllowed, "everything agreed; the request or connection went upstream"},

	{ReasonSession, "the socket belongs to no known session"},
	{ReasonListener, "a connection straight to the proxy's own listener"},
	{ReasonUndeclared, "TCP to an address that is neither a name's nor declared in the policy"},
	{ReasonDevice, "the socket is bound to a network device other than lo"},
	{ReasonUDP, "a UDP datagram to anything but a name server or loopback"},
	{ReasonProtocol, "a socket of a family or protocol other than TCP and UDP over IP"},
	{ReasonStorage, "the kernel had no memory to remember the connection's destination"},
	{ReasonInterface, "a packet left through an interface other than lo"},
	{ReasonPacket, "a packet that is neither TCP nor an allowed UDP datagram"},
	{ReasonInflight, "too many connections began at once for the kernel to remember where this one was going"},
	{ReasonOrphan, "a connection reached the proxy's listener without a destination"},

	{ReasonUnsolicited, "a packet left a pod that answers nothing that came to it"},
	{ReasonSpoofed, "a packet left a pod with a source address that is not the pod's"},
	{ReasonFrame, "a frame left a pod that is neither plain IPv4, IPv6 nor ARP, or has a VLAN tag"},
	{ReasonFlows, "a packet for a pod was dropped: too many flows reach it to note another"},
	{ReasonMembership, "a multicast membership report of a pod was dropped; counted, never recorded"},

	{ReasonUnix, "a unix socket that the session did not make; path is the name it was bound to"},
	{ReasonFamily, "a socket of an address family that may lead out of the namespace"},

	{ReasonNameNotAllowed, "a name was asked for that no rule could allow"},
	{ReasonQueryType, "a record type other than A and AAAA was asked for"},
	{ReasonBadQuery, "a name server message that could not be read, or is not one plain question"},
	{ReasonExhausted, "the session has used up its synthetic addresses"},

	{ReasonOriginMissing, "the kernel could not say where the connection was going"},
	{ReasonNoSNI, "a TLS client that names no server"},
	{ReasonBadName, "a host name that is not a canonical one"},
	{ReasonNameMismatch, "the TLS server name is not the name that was looked up"},
	{ReasonHandshake, "the TLS handshake with the agent did not complete"},

	{ReasonBadRequest, "a request head that is not strict HTTP"},
	{ReasonBadFraming, "the length of the body is ambiguous or malformed"},
	{ReasonBadTarget, "a request target in a form or with bytes that are not accepted"},
	{ReasonBadMethod, "a method that is not accepted, such as CONNECT or TRACE"},
	{ReasonBadHeader, "a header field that is malformed, repeated or not accepted"},
	{ReasonBadScheme, "the request's scheme is not the connection's"},
	{ReasonBadVersion, "a protocol version that is not accepted"},
	{ReasonBadUpgrade, "a protocol upgrade that is not accepted"},
	{ReasonHostMismatch, "the request's host is not the connection's name"},

	{ReasonHostNotAllowed, "no rule names the host"},
	{ReasonAddressNotAllowed, "no rule names the address"},
	{ReasonPortNotAllowed, "a rule names the host, none this port"},
	{ReasonProtocolNotAllowed, "the connection does not speak the protocol its rule names"},
	{ReasonMethodNotAllowed, "no rule for the host and path allows the method"},
	{ReasonPathNotAllowed, "no rule for the host allows the path"},
	{ReasonPlaintext, "a credential, or a host that needs TLS, over plain HTTP"},
	{ReasonNoCredential, "the host wants a credential and the request carries none"},
	{ReasonForeignCredential, "the request carries a credential that is not the session's"},
	{ReasonDuplicateCredential, "the request carries more than one credential"},
	{ReasonMisplaced, "a placeholder in a position its credential does not declare"},
	{ReasonUnbound, "a placeholder sent to a host its credential is not bound to"},
	{ReasonBadSignature, "an AWS signature that the session's placeholder key did not make over this request"},
	{ReasonApproval, "a person was asked and answered; not written by this build"},
	{ReasonApprovalTimeout, "a person was asked and did not answer in time; not written by this build"},

	{ReasonResolve, "the host's name did not resolve"},
	{ReasonDialRefused, "the host's address is one the proxy does not dial"},
	{ReasonUpstreamUnreachable, "no connection to the host could be made"},
	{ReasonUpstreamTLS, "the host's certificate or TLS is not acceptable; nothing was sent"},
	{ReasonUpstreamTimeout, "the host did not answer in time"},
	{ReasonBadResponse, "the host's answer is malformed or cannot be scrubbed"},
	{ReasonCredentialUnavailable, "the real credential could not be had from its source"},

	{ReasonHeaderLimit, "the request head is over its limit"},
	{ReasonBodyLimit, "a body that has to be held is over its limit"},
	{ReasonConnectionLimit, "the session has too many connections"},
	{ReasonStreamLimit, "the connection has too many streams"},
	{ReasonRateLimit, "too many of the same in a short time"},
	{ReasonTimeout, "the agent was too slow"},
	{ReasonAuditFull, "the audit record could not be written, so nothing was done, or the policy does without it"},
	{ReasonInternal, "a fault of the proxy's own; nothing was sent"},

	{ReasonSessionStart, "the session began"},
	{ReasonSessionEnd, "the session ended and its audit is complete"},
	{ReasonKeyAtRest, "a real credential was found, or is uncovered, where the agent can read"},
	{ReasonGuessing, "streams were used to guess a credential and tell no more of it; replace the credentials"},
	{ReasonReload, "the session's policy or credentials were replaced"},
	{ReasonExec, "somebody ran a program beside the agent; pid and uid are theirs"},
}

var known = func() map[Reason]struct{} {
	set := make(map[Reason]struct{}, len(reasons))
	for _, entry := range reasons {
		set[entry.Reason] = struct{}{}
	}
	return set
}()

// Reasons returns every reason with its meaning, in the order of the manual.
func Reasons() []Entry { return append([]Entry(nil), reasons[:]...) }

// Known reports whether r is in the closed list.
func (r Reason) Known() bool {
	_, ok := known[r]
	return ok
}
