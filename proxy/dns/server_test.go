// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// sink keeps records.
type sink struct {
	mu      sync.Mutex
	records []audit.Record
	err     error
}

func (s *sink) Write(r audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.records = append(s.records, r)
	return r.Check()
}

func (s *sink) all() []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]audit.Record(nil), s.records...)
}

func newServer() (*Server, *sink) {
	kept := new(sink)
	return &Server{
		Table: New(canonical, example), Hostname: "box",
		Own4: netip.MustParseAddr("198.18.255.1"), Own6: netip.MustParseAddr("fd70:6861:6e74:ffff::1"),
		Sink: kept,
	}, kept
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
}

// ask sends a message through the server's parser and back.
func ask(t testing.TB, s *Server, query *dns.Msg) *dns.Msg {
	t.Helper()
	wire, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(s.answer(nil, wire, "udp")); err != nil {
		t.Fatal(err)
	}
	if reply.Id != query.Id || !reply.Response || reply.RecursionDesired != query.RecursionDesired {
		t.Errorf("header %+v does not answer %+v", reply.MsgHdr, query.MsgHdr)
	}
	return reply
}

// summarize is a reply in a word: its code, or its answers.
func summarize(reply *dns.Msg) string {
	if reply.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[reply.Rcode]
	}
	if len(reply.Answer) == 0 {
		return "NODATA"
	}
	var words []string
	for _, record := range reply.Answer {
		words = append(words, strings.TrimPrefix(record.String(), record.Header().String()))
	}
	return strings.Join(words, " ")
}

func TestR7Answers(t *testing.T) {
	type row struct {
		name   string
		qtype  uint16
		want   string
		reason audit.Reason
	}
	const own6, name6 = "fd70:6861:6e74:ffff::1", "fd70:6861:6e74::1"
	rows := []row{
		{"api.example.test", dns.TypeA, "198.18.0.1", ""},
		{"api.example.test", dns.TypeAAAA, name6, ""},
		{"API.eXample.TEST", dns.TypeA, "198.18.0.1", ""},
		{"localhost", dns.TypeA, "127.0.0.1", ""},
		{"localhost", dns.TypeAAAA, "::1", ""},
		{"a.b.LocalHost", dns.TypeA, "127.0.0.1", ""},
		{"notlocalhost", dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"box", dns.TypeA, "198.18.255.1", ""},
		{"BOX", dns.TypeAAAA, own6, ""},
		{"box.example", dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"evil.test", dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"evil.test", dns.TypeTXT, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"api.example.test.evil.test", dns.TypeAAAA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{".", dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{".", dns.TypeNS, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{`a\000b.example.test`, dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{`api\.example.test`, dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"_dns.resolver.arpa", dns.TypeSVCB, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"api.example.test", dns.TypeHTTPS, "NODATA", ""},
		{"api.example.test", dns.TypeSVCB, "NODATA", ""},
		{"api.example.test", dns.TypeTXT, "NODATA", audit.ReasonQueryType},
		{"api.example.test", dns.TypeNULL, "NODATA", audit.ReasonQueryType},
		{"api.example.test", dns.TypeANY, "NODATA", audit.ReasonQueryType},
		{"api.example.test", dns.TypeAXFR, "NODATA", audit.ReasonQueryType},
		{"api.example.test", 65399, "NODATA", audit.ReasonQueryType},
		{"localhost", dns.TypeMX, "NODATA", audit.ReasonQueryType},
		{"1.0.18.198.in-addr.arpa", dns.TypePTR, "api.example.test.", ""},
		{"1.0.18.198.IN-ADDR.arpa", dns.TypePTR, "api.example.test.", ""},
		{reverse6(name6), dns.TypePTR, "api.example.test.", ""},
		{reverse6(own6), dns.TypePTR, "box.", ""},
		{"1.0.0.127.in-addr.arpa", dns.TypePTR, "localhost.", ""},
		{"9.0.18.198.in-addr.arpa", dns.TypePTR, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"1.0.18.198.in-addr.arpa", dns.TypeA, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"01.0.18.198.in-addr.arpa", dns.TypePTR, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"8.8.8.8.in-addr.arpa", dns.TypePTR, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"18.198.in-addr.arpa", dns.TypePTR, "NXDOMAIN", audit.ReasonNameNotAllowed},
		{"1.ip6.arpa", dns.TypePTR, "NXDOMAIN", audit.ReasonNameNotAllowed},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.name, " ", dns.Type(row.qtype)), func(t *testing.T) {
			s, kept := newServer()
			s.Table.Assign("api.example.test")
			reply := ask(t, s, question(row.name, row.qtype))
			if got := summarize(reply); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			if asked := reply.Question[0]; asked.Name != dns.Fqdn(row.name) || asked.Qtype != row.qtype {
				t.Errorf("the question came back as %v", asked)
			}
			checkSection(t, reply)
			checkRecord(t, kept.all(), row.reason)
		})
	}
}

func reverse6(address string) string {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err)
	}
	return name
}

func checkSection(t *testing.T, reply *dns.Msg) {
	t.Helper()
	for _, record := range reply.Answer {
		if ttl := record.Header().Ttl; ttl == 0 || ttl > 60 {
			t.Errorf("TTL %d", ttl)
		}
		if record.Header().Name != reply.Question[0].Name {
			t.Errorf("answer for %q", record.Header().Name)
		}
	}
	if len(reply.Answer) > 0 {
		return
	}
	if len(reply.Ns) != 1 || reply.Ns[0].Header().Rrtype != dns.TypeSOA || reply.Ns[0].(*dns.SOA).Minttl > 60 {
		t.Errorf("a negative answer without its SOA: %v", reply.Ns)
	}
}

func checkRecord(t *testing.T, records []audit.Record, reason audit.Reason) {
	t.Helper()
	if reason == "" {
		if len(records) != 0 {
			t.Errorf("recorded: %+v", records)
		}
		return
	}
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	r := records[0]
	if r.Kind != audit.KindDNS || r.Verdict != audit.Deny || r.Reason != reason || r.Proto != "udp" {
		t.Errorf("recorded: %+v", r)
	}
}

func TestWithoutIPv6NoNameHasAAAA(t *testing.T) {
	s, _ := newServer()
	s.Own6 = netip.Addr{}
	for _, name := range []string{"api.example.test", "localhost", "box"} {
		if got := summarize(ask(t, s, question(name, dns.TypeAAAA))); got != "NODATA" {
			t.Errorf("%s AAAA: %s", name, got)
		}
		if got := summarize(ask(t, s, question(name, dns.TypeA))); got == "NODATA" {
			t.Errorf("%s A: %s", name, got)
		}
	}
}

func TestExhaustedTableIsServerFailure(t *testing.T) {
	s, kept := newServer()
	for i := range MaxNames {
		s.Table.Assign(fmt.Sprintf("n%d.example.test", i))
	}
	if got := summarize(ask(t, s, question("more.example.test", dns.TypeA))); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
	checkRecord(t, kept.all(), audit.ReasonExhausted)
}

func TestReverseForgetsWhatIsNoLongerAllowed(t *testing.T) {
	s, _ := newServer()
	open := true
	s.Table = New(canonical, func(string) bool { return open })
	s.Table.Assign("a.test")
	open = false
	if got := summarize(ask(t, s, question("1.0.18.198.in-addr.arpa", dns.TypePTR))); got != "NXDOMAIN" {
		t.Errorf("got %s", got)
	}
}

func TestNoAnswerNeedsTruncation(t *testing.T) {
	long := strings.Repeat(strings.Repeat("h", 61)+".", 4) + "hhhhh"
	for name, query := range map[string]*dns.Msg{
		"allowed": question(long[:240]+".example.test", dns.TypeAAAA),
		"refused": question(long, dns.TypeTXT),
		"no data": question(long[:240]+".example.test", dns.TypeTXT),
		"reverse": question(reverse6("fd70:6861:6e74:ffff::1"), dns.TypePTR),
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer()
			s.Hostname = long
			wire, err := query.SetEdns0(512, true).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if out := s.answer(nil, wire, "udp"); len(out) < 300 || len(out) > maxReply || out[2]&2 != 0 {
				t.Errorf("%d octets, flags %#x", len(out), out[2])
			}
		})
	}
}

// tunnel returns labels as iodine and dnscat send them.
func tunnel(i int) string {
	label := strings.Repeat(fmt.Sprintf("%08x", i*2654435761%(1<<32)), 7)
	return label + "." + label + "." + label + ".t.evil.test"
}

func TestR7TunnelIsRefusedAndBounded(t *testing.T) {
	s, kept := newServer()
	for i := range 10000 {
		if got := summarize(ask(t, s, question(tunnel(i), dns.TypeNULL))); got != "NXDOMAIN" {
			t.Fatalf("got %s", got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	records := kept.all()
	if len(records) < burst || len(records) > burst+60 {
		t.Errorf("%d records", len(records))
	}
	told := uint64(0)
	for _, r := range records {
		told += r.Suppressed
		if r.Name != "" {
			told++
		}
	}
	if told != 10000 {
		t.Errorf("the records tell of %d questions", told)
	}
	if len(s.Table.names) != 0 {
		t.Errorf("%d names kept", len(s.Table.names))
	}
}

func BenchmarkAnswer(b *testing.B) {
	s, _ := newServer()
	for name, host := range map[string]string{"allowed": "api.example.test", "refused": "evil.test"} {
		b.Run(name, func(b *testing.B) {
			wire, err := question(host, dns.TypeA).Pack()
			if err != nil {
				b.Fatal(err)
			}
			out := make([]byte, 0, maxReply)
			b.ReportAllocs()
			for b.Loop() {
				s.answer(out, wire, "udp")
			}
		})
	}
}
