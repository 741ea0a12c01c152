// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// resolve fills in the reply to its one question.
func (s *Server) resolve(reply *dns.Msg, proto string) {
	question := reply.Question[0]
	if question.Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
		s.tell(audit.Record{Name: plainName(question.Name), Reason: audit.ReasonBadQuery, Proto: proto})
		return
	}
	if question.Qtype == dns.TypePTR {
		if name, ok := s.reverse(question.Name); ok {
			reply.Answer = append(reply.Answer, &dns.PTR{Hdr: head(question), Ptr: dns.Fqdn(name)})
			return
		}
	}
	v4, v6, reason := s.lookup(question.Name)
	switch reason {
	case audit.ReasonAllowed:
	case audit.ReasonExhausted:
		reply.Rcode = dns.RcodeServerFailure
	default:
		reply.Rcode = dns.RcodeNameError
		deny(reply)
	}
	if reason != audit.ReasonAllowed {
		s.tell(audit.Record{
			Name: plainName(question.Name), Reason: reason, Proto: proto, Method: dns.Type(question.Qtype).String(),
		})
		return
	}
	s.respond(reply, v4, v6, proto)
}

// respond answers for a name that exists.
func (s *Server) respond(reply *dns.Msg, v4, v6 netip.Addr, proto string) {
	question := reply.Question[0]
	switch {
	case question.Qtype == dns.TypeA && v4.IsValid():
		reply.Answer = append(reply.Answer, &dns.A{Hdr: head(question), A: v4.AsSlice()})
		return
	case question.Qtype == dns.TypeAAAA && v6.IsValid():
		reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: head(question), AAAA: v6.AsSlice()})
		return
	}
	deny(reply)
	if !ordinary(question.Qtype) {
		s.tell(audit.Record{
			Name: plainName(question.Name), Reason: audit.ReasonQueryType, Proto: proto,
			Method: dns.Type(question.Qtype).String(),
		})
	}
}

// ordinary reports whether clients ask for the type unprompted with every
// address: such a question says nothing about the agent.
func ordinary(qtype uint16) bool {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB:
		return true
	}
	return false
}

// lookup returns the addresses of a name as it was asked. An address that is
// not valid means that the name has none of that family.
func (s *Server) lookup(asked string) (v4, v6 netip.Addr, reason audit.Reason) {
	name, err := s.Table.canonical(asked)
	switch {
	case err != nil:
		return v4, v6, audit.ReasonNameNotAllowed
	case name == "localhost" || strings.HasSuffix(name, ".localhost"): // RFC 6761, section 6.3
		v4, v6 = loopback4, loopback6
	case s.isHostname(name):
		v4, v6 = s.Own4, s.Own6
	case !s.Table.allowed(name):
		return v4, v6, audit.ReasonNameNotAllowed
	default:
		index, ok := s.Table.assign(name)
		if !ok {
			return v4, v6, audit.ReasonExhausted
		}
		v4, v6 = addresses(index)
	}
	if !s.Own6.IsValid() {
		v6 = netip.Addr{}
	}
	return v4, v6, audit.ReasonAllowed
}

func (s *Server) isHostname(name string) bool {
	own, err := s.Table.canonical(s.Hostname)
	return err == nil && name == own
}

// reverse returns the name behind a question in in-addr.arpa or ip6.arpa, for
// the addresses this server hands out.
func (s *Server) reverse(asked string) (string, bool) {
	address, ok := reverseAddress(asked)
	switch {
	case !ok:
		return "", false
	case address == loopback4 || address == loopback6:
		return "localhost", true
	case (address == s.Own4 || address == s.Own6) && s.Hostname != "":
		return s.Hostname, true
	}
	name, ok := s.Table.Name(address)
	return name, ok && s.Table.allowed(name)
}

// reverseAddress reads RFC 1035, section 3.5, and RFC 3596, section 2.5.
func reverseAddress(asked string) (netip.Addr, bool) {
	asked = strings.ToLower(asked)
	if digits, ok := strings.CutSuffix(asked, ".in-addr.arpa."); ok {
		return parseReversed(digits, 4, 1, ".")
	}
	if digits, ok := strings.CutSuffix(asked, ".ip6.arpa."); ok {
		return parseReversed(digits, 32, 4, ":")
	}
	return netip.Addr{}, false
}

// parseReversed puts count labels in order, a separator after every group.
func parseReversed(digits string, count, group int, separator string) (netip.Addr, bool) {
	labels := strings.Split(digits, ".")
	if len(labels) != count {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := range labels {
		label := labels[count-1-i]
		if group > 1 && len(label) != 1 {
			return netip.Addr{}, false
		}
		if i > 0 && i%group == 0 {
			text.WriteString(separator)
		}
		text.WriteString(label)
	}
	address, err := netip.ParseAddr(text.String())
	return address, err == nil
}

func head(question dns.Question) dns.RR_Header {
	return dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: positiveTTL}
}

// deny adds the SOA record without which a client does not believe that a name
// or type does not exist, and asks again (RFC 2308, section 5).
func deny(reply *dns.Msg) {
	reply.Ns = append(reply.Ns, &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negativeTTL},
		Ns:  ".", Mbox: ".", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negativeTTL,
	})
}

// plainName is a name for the audit record: without the root's dot, and in
// lower case, because clients that mix case to be harder to spoof (draft
// "0x20") would give one name many records.
func plainName(asked string) string {
	return strings.ToLower(strings.TrimSuffix(asked, "."))
}
