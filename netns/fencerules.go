// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The way of a packet that is sent inside, and where the fence stands in it:
//
//	output       -300  raw       the listener's own connections are not tracked
//	             -200            conntrack
//	             -101  names     port 53 to the stub
//	             -100            DNAT of others: iptables, Docker, meshes
//	           10,000  output    refuse
//	postrouting   100            SNAT of others
//	           10,000  leaving   drop what was diverted after output
//	             max             conntrack confirms the flow
//
// names stands before everybody else's DNAT, as the first one that rewrites a
// flow is the last: Docker's rules for 127.0.0.11 would lead to a resolver that
// asks outside. output stands behind all of it and judges what the packet has
// become. leaving sees the link that the packet really takes: the one that an
// output chain sees is the one before any rewriting.
const (
	beforeOthers = -101
	afterOthers  = 10_000 // conventional priorities end at 300
)

var fenceTable = &nftables.Table{Name: "phantom-ns", Family: nftables.TableFamilyINet}

// Names of counters.
const (
	countReplies    = "replies"
	countNeighbours = "neighbours"
	countQuestions  = "questions"
	countTCP        = "refused-tcp"
	countUDP        = "refused-udp"
	countICMP       = "refused-icmp"
	countOther      = "refused-other"
	countForwarded  = "forwarded"
	countDiverted   = "diverted"
)

var counterNames = []string{
	countReplies, countNeighbours, countQuestions, countTCP, countUDP, countICMP, countOther, countForwarded, countDiverted,
}

// fenceChain is one base chain; default is what becomes of a packet that no rule
// decides.
type fenceChain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	policy   nftables.ChainPolicy
	rules    []rule
}

type rule = []expr.Any

func (c *fenceChain) chain() *nftables.Chain {
	return &nftables.Chain{
		Name: c.name, Table: fenceTable, Type: c.kind, Hooknum: c.hook, Priority: &c.priority, Policy: &c.policy,
	}
}

func fenceChains() []fenceChain {
	const filter, nat = nftables.ChainTypeFilter, nftables.ChainTypeNAT
	const accept, drop = nftables.ChainPolicyAccept, nftables.ChainPolicyDrop
	output, postrouting := nftables.ChainHookOutput, nftables.ChainHookPostrouting
	return []fenceChain{
		{"raw", filter, output, *nftables.ChainPriorityRaw, accept, rawRules()},
		{"names", nat, output, beforeOthers, accept, nameRules()},
		{"output", filter, output, afterOthers, drop, outputRules()},
		{"leaving", filter, postrouting, afterOthers, drop, leavingRules()},
		{"forward", filter, nftables.ChainHookForward, afterOthers, drop, []rule{when(count(countForwarded), verdict(expr.VerdictDrop))}},
	}
}

// rawRules keep connections with the listener out of conntrack: no other rule
// has business with them, and they carry everything that the session sends.
func rawRules() []rule {
	return []rule{
		when(toLoopback(), protocol(unix.IPPROTO_TCP), destination(ListenerPort), rule{&expr.Notrack{}}),
		when(toLoopback(), protocol(unix.IPPROTO_TCP), source(ListenerPort), rule{&expr.Notrack{}}),
	}
}

// nameRules leave alone who asks 127.0.0.1, ::1 or an address of the links': that
// is a server of the container's own.
func nameRules() []rule {
	return []rule{
		when(toLoopback(), family(unix.NFPROTO_IPV6), verdict(expr.VerdictAccept)),
		when(toLoopback(), family(unix.NFPROTO_IPV4), address4(expr.CmpOpEq, 127, 0, 0, 1), verdict(expr.VerdictAccept)),
		when(toLoopback(), family(unix.NFPROTO_IPV4), network127(expr.CmpOpNeq), verdict(expr.VerdictAccept)),
		when(protocol(unix.IPPROTO_UDP), destination(53), count(countQuestions), redirect(DNSPort)),
		when(protocol(unix.IPPROTO_TCP), destination(53), count(countQuestions), redirect(DNSPort)),
	}
}

func outputRules() []rule {
	const prohibited = unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED
	rules := []rule{
		when(toLoopback(), tracking(expr.CtStateBitUNTRACKED), verdict(expr.VerdictAccept)),
		// Rewritten or not, it is for an address of this namespace.
		when(local(), verdict(expr.VerdictAccept)),
		when(reply(), count(countReplies), verdict(expr.VerdictAccept)),
		// A socket of a program behind it: a raw one, whose packets a router would
		// carry anywhere.
		when(protocol(unix.IPPROTO_ICMPV6), ofSocket(), count(countICMP), reject(unix.NFT_REJECT_ICMPX_UNREACH, prohibited)),
	}
	rules = append(rules, neighbourRules(countNeighbours)...)
	return append(rules,
		when(protocol(unix.IPPROTO_TCP), count(countTCP), reject(unix.NFT_REJECT_TCP_RST, 0)),
		when(protocol(unix.IPPROTO_UDP), count(countUDP), reject(unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH)),
		when(protocol(unix.IPPROTO_ICMP), count(countICMP), reject(unix.NFT_REJECT_ICMPX_UNREACH, prohibited)),
		when(protocol(unix.IPPROTO_ICMPV6), count(countICMP), reject(unix.NFT_REJECT_ICMPX_UNREACH, prohibited)),
		when(count(countOther), reject(unix.NFT_REJECT_ICMPX_UNREACH, prohibited)),
	)
}

func leavingRules() []rule {
	rules := []rule{
		when(toLoopback(), verdict(expr.VerdictAccept)),
		when(reply(), verdict(expr.VerdictAccept)),
	}
	rules = append(rules, neighbourRules("")...)
	return append(rules, when(count(countDiverted), verdict(expr.VerdictDrop)))
}

// neighbourRules accept what a host needs to find and be found (RFC 4861): router
// solicitations, neighbour solicitations and advertisements, with the hop limit
// that says that no router has passed them on.
func neighbourRules(counter string) []rule {
	var rules []rule
	for _, kind := range []byte{133, 135, 136} {
		parts := []rule{protocol(unix.IPPROTO_ICMPV6), icmpType(kind), hopLimit(255)}
		if counter != "" {
			parts = append(parts, count(counter))
		}
		rules = append(rules, when(append(parts, verdict(expr.VerdictAccept))...))
	}
	return rules
}

// when joins the parts of a rule.
func when(parts ...rule) rule {
	var all rule
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// register is where a rule's parts load what they compare.
const register = unix.NFT_REG_1

func meta(key expr.MetaKey, want []byte) rule {
	return rule{&expr.Meta{Key: key, Register: register}, equal(want)}
}

func equal(want []byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: want}
}

func payload(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func masked(mask []byte) *expr.Bitwise {
	return &expr.Bitwise{
		SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
	}
}

// toLoopback compares the index, as a name can be changed.
func toLoopback() rule { return meta(expr.MetaKeyOIF, binaryutil.NativeEndian.PutUint32(loopback)) }

func family(proto byte) rule   { return meta(expr.MetaKeyNFPROTO, []byte{proto}) }
func protocol(proto byte) rule { return meta(expr.MetaKeyL4PROTO, []byte{proto}) }

// ofSocket matches what has a uid at all: the kernel's own packets have no file
// behind their socket.
func ofSocket() rule { return rule{&expr.Meta{Key: expr.MetaKeySKUID, Register: register}} }

func source(port uint16) rule {
	return rule{payload(expr.PayloadBaseTransportHeader, 0, 2), equal(binaryutil.BigEndian.PutUint16(port))}
}

func destination(port uint16) rule {
	return rule{payload(expr.PayloadBaseTransportHeader, 2, 2), equal(binaryutil.BigEndian.PutUint16(port))}
}

func icmpType(kind byte) rule {
	return rule{payload(expr.PayloadBaseTransportHeader, 0, 1), equal([]byte{kind})}
}

func hopLimit(hops byte) rule {
	return rule{payload(expr.PayloadBaseNetworkHeader, 7, 1), equal([]byte{hops})}
}

func address4(op expr.CmpOp, a, b, c, d byte) rule {
	return rule{
		payload(expr.PayloadBaseNetworkHeader, 16, 4),
		&expr.Cmp{Op: op, Register: register, Data: []byte{a, b, c, d}},
	}
}

func network127(op expr.CmpOp) rule {
	return rule{
		payload(expr.PayloadBaseNetworkHeader, 16, 4), masked([]byte{255, 0, 0, 0}),
		&expr.Cmp{Op: op, Register: register, Data: []byte{127, 0, 0, 0}},
	}
}

// local matches what is for an address of this namespace.
func local() rule {
	return rule{
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

// tracking matches any of the states.
func tracking(states uint32) rule {
	return rule{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register}, masked(binaryutil.NativeEndian.PutUint32(states)),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}
}

// replyDirection is IP_CT_DIR_REPLY of
// include/uapi/linux/netfilter/nf_conntrack_tuple_common.h.
const replyDirection = 1

// reply matches what answers a flow that was begun by the other side.
func reply() rule {
	return when(tracking(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED),
		rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register}, equal([]byte{replyDirection})})
}

func count(name string) rule {
	return rule{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name}}
}

func verdict(kind expr.VerdictKind) rule { return rule{&expr.Verdict{Kind: kind}} }

func reject(kind uint32, code uint8) rule { return rule{&expr.Reject{Type: kind, Code: code}} }

func redirect(port uint16) rule {
	return rule{
		&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: register, RegisterProtoMax: register, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}
