// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

const (
	// positiveTTL bounds how long a client keeps an address, in seconds. The
	// address never changes; the policy may.
	positiveTTL = 60
	// negativeTTL is short because a name refused now may be approved soon.
	negativeTTL = 5
	// maxQuery bounds a message in octets: one question is at most 271, the
	// rest is options.
	maxQuery = 4096
	// maxReply is the longest answer in octets, what every client takes over
	// UDP (RFC 1035, section 4.2.1), so that none is ever truncated: header 12,
	// question 259, and either the owner's pointer and an address 28, or the
	// root's SOA 33, or for a reverse question of 77 a name 267; options 11.
	maxReply = 512
	// acceptUDP is what we say we take: passes any network unfragmented (DNS
	// flag day 2020).
	acceptUDP = 1232
)

// Server answers the session's questions, on all of its sockets: the bounds on
// records and connections are the server's, so that one per socket would have
// four times as many. The exported fields are set before it serves and not
// changed after.
type Server struct {
	Table    *Table
	Hostname string     // the session's own host name, answered with Own4 and Own6
	Own4     netip.Addr // the session's own address
	Own6     netip.Addr // not valid: the session has no IPv6, and no name has an AAAA record
	Sink     audit.Sink // takes a record of each refused name; nil: none are made

	refusals refusals
	streams  streams
}

// answer returns the reply to one message, appended to out, or nil when it
// deserves none: an answer to what is itself an answer would start a loop.
func (s *Server) answer(out, message []byte, proto string) []byte {
	var head header
	if !head.parse(message) || head.response {
		return nil
	}
	if head.opcode != dns.OpcodeQuery {
		return s.refuse(out, head, dns.RcodeNotImplemented, proto)
	}
	var query dns.Msg
	if !head.plain() || query.Unpack(message) != nil || len(query.Question) != 1 {
		return s.refuse(out, head, dns.RcodeFormatError, proto)
	}
	reply := new(dns.Msg).SetReply(&query)
	reply.RecursionAvailable = true
	reply.Compress = true
	if option := query.IsEdns0(); option != nil {
		reply.SetEdns0(acceptUDP, option.Do())
		if option.Version() != 0 {
			reply.Rcode = dns.RcodeBadVers // RFC 6891, section 6.1.3
			return pack(out, reply)
		}
	}
	s.resolve(reply, proto)
	return pack(out, reply)
}

// refuse answers a message that cannot be read as a question, with its header
// alone.
func (s *Server) refuse(out []byte, head header, rcode int, proto string) []byte {
	s.tell(audit.Record{Reason: audit.ReasonBadQuery, Proto: proto})
	reply := &dns.Msg{MsgHdr: dns.MsgHdr{
		Id: head.id, Response: true, Opcode: head.opcode, RecursionDesired: head.recursion, Rcode: rcode,
	}}
	return pack(out, reply)
}

// pack appends the reply's wire form to out. What cannot be packed is dropped.
func pack(out []byte, reply *dns.Msg) []byte {
	wire, err := reply.PackBuffer(out[len(out):cap(out)])
	if err != nil {
		return nil
	}
	return append(out, wire...)
}

// Close writes the record of refusals that were not told yet. The sockets are
// closed by whoever opened them.
func (s *Server) Close() error { return s.refusals.close(s.Sink) }

// header is the first twelve octets (RFC 1035, section 4.1.1), read before the
// message is trusted to a parser.
type header struct {
	id        uint16
	response  bool
	opcode    int
	recursion bool
	questions uint16
	answers   uint16
	authority uint16
	more      uint16
}

func (h *header) parse(m []byte) bool {
	if len(m) < 12 {
		return false
	}
	word := func(i int) uint16 { return uint16(m[i])<<8 | uint16(m[i+1]) }
	flags := word(2)
	*h = header{
		id: word(0), response: flags&0x8000 != 0, opcode: int(flags >> 11 & 15), recursion: flags&0x100 != 0,
		questions: word(4), answers: word(6), authority: word(8), more: word(10),
	}
	return true
}

// plain reports whether the counts are those of one question. Two additional
// records are the options and a signature.
func (h *header) plain() bool {
	return h.questions == 1 && h.answers == 0 && h.authority == 0 && h.more <= 2
}
