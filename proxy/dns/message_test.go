// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestOddMessages(t *testing.T) {
	edit := func(change func(*dns.Msg)) func() *dns.Msg {
		return func() *dns.Msg {
			m := question("api.example.test", dns.TypeA)
			change(m)
			return m
		}
	}
	record := &dns.A{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{1, 2, 3, 4}}
	for name, test := range map[string]struct {
		query func() *dns.Msg
		want  string
	}{
		"update":         {edit(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "NOTIMP"},
		"notify":         {edit(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), "NOTIMP"},
		"chaos":          {edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		"any class":      {edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED"},
		"two questions":  {edit(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR"},
		"no question":    {edit(func(m *dns.Msg) { m.Question = nil }), "FORMERR"},
		"an answer":      {edit(func(m *dns.Msg) { m.Answer = []dns.RR{record} }), "FORMERR"},
		"an authority":   {edit(func(m *dns.Msg) { m.Ns = []dns.RR{record} }), "FORMERR"},
		"many more":      {edit(func(m *dns.Msg) { m.Extra = []dns.RR{record, record, record} }), "FORMERR"},
		"not recursive":  {edit(func(m *dns.Msg) { m.RecursionDesired = false }), "198.18.0.1"},
		"check disabled": {edit(func(m *dns.Msg) { m.CheckingDisabled = true }), "198.18.0.1"},
		"edns version 1": {edit(func(m *dns.Msg) { m.SetEdns0(4096, false).IsEdns0().SetVersion(1) }), "BADVERS"},
		"edns": {edit(func(m *dns.Msg) {
			m.SetEdns0(4096, true).IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
		}), "198.18.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer()
			query := test.query()
			reply := ask(t, s, query)
			if got := summarize(reply); got != test.want && dns.RcodeToString[reply.Rcode] != test.want {
				// BADVERS and BADSIG share a number in miekg's table.
				if !(test.want == "BADVERS" && reply.Rcode == dns.RcodeBadVers) {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
			if (query.IsEdns0() != nil) != (reply.IsEdns0() != nil) && reply.Rcode != dns.RcodeFormatError {
				t.Errorf("options asked %v, answered %v", query.IsEdns0(), reply.IsEdns0())
			}
		})
	}
}

func TestMalformedMessages(t *testing.T) {
	wire, err := question("api.example.test", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	response := bytes.Clone(wire)
	response[2] |= 0x80
	loop := append(bytes.Clone(wire[:12]), 0xc0, 12, 0, 1, 0, 1)
	for name, test := range map[string]struct {
		message []byte
		want    string
	}{
		"empty":             {nil, "dropped"},
		"part of a header":  {wire[:11], "dropped"},
		"a response":        {response, "dropped"},
		"header alone":      {wire[:12], "FORMERR"},
		"part of a name":    {wire[:20], "FORMERR"},
		"no class":          {wire[:len(wire)-1], "FORMERR"},
		"pointer to itself": {loop, "FORMERR"},
		"label of 64":       {append(append(bytes.Clone(wire[:12]), 0x40), make([]byte, 70)...), "FORMERR"},
		"junk behind":       {append(bytes.Clone(wire), "junk"...), "198.18.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer()
			got, out := "dropped", s.answer(nil, test.message, "udp")
			if out != nil {
				reply := new(dns.Msg)
				if err := reply.Unpack(out); err != nil {
					t.Fatal(err)
				}
				got = summarize(reply)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"api.example.test", "evil.test", tunnel(1), "1.0.18.198.in-addr.arpa", `\000\.x`} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypePTR, dns.TypeOPT} {
			wire, err := question(name, qtype).SetEdns0(1232, true).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(wire)
		}
	}
	s, _ := newServer()
	s.Sink = nil
	f.Fuzz(func(t *testing.T, message []byte) {
		if out := s.answer(make([]byte, 2, 64), message, "udp"); out != nil {
			checkReply(t, message, out[2:])
		}
	})
}

// checkReply proves of any reply that it answers the message and holds only
// what this server gives.
func checkReply(t *testing.T, message, out []byte) {
	if len(out) > maxReply {
		t.Fatalf("%d octets", len(out))
	}
	if !bytes.Equal(out[:2], message[:2]) || out[2]&0x80 == 0 {
		t.Fatalf("not an answer to it: % x", out[:12])
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(out); err != nil {
		t.Fatal(err)
	}
	for _, record := range reply.Answer {
		switch record := record.(type) {
		case *dns.A:
			address, _ := netip.AddrFromSlice(record.A.To4())
			if !Prefix4.Contains(address) && address != loopback4 {
				t.Fatal(record)
			}
		case *dns.AAAA:
			address, _ := netip.AddrFromSlice(record.AAAA)
			if !netip.MustParsePrefix("fd70:6861:6e74::/48").Contains(address) && address != loopback6 {
				t.Fatal(record)
			}
		case *dns.PTR:
		default:
			t.Fatal(record)
		}
	}
}
