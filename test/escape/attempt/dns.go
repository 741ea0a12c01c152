// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// R7: names as a way out.
var dnsWays = map[string]way{
	"dns_a":         ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeA),
	"dns_aaaa":      ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeAAAA),
	"dns_txt":       ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeTXT),
	"dns_null":      ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeNULL),
	"dns_any":       ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeANY),
	"dns_https":     ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeHTTPS),
	"dns_cname":     ask("udp", "127.0.0.1:53", "escape.test.", dns.TypeCNAME),
	"dns_mx":        ask("tcp", "127.0.0.1:53", "escape.test.", dns.TypeMX),
	"dns_evil":      ask("udp", "127.0.0.1:53", "evil.test.", dns.TypeA),
	"dns_evil_txt":  ask("udp", "127.0.0.1:53", "evil.test.", dns.TypeTXT),
	"dns_evil_null": ask("udp", "127.0.0.1:53", "evil.test.", dns.TypeNULL),
	"dns_evil_tcp":  ask("tcp", "127.0.0.1:53", "evil.test.", dns.TypeA),
	"dns_suffix":    ask("udp", "127.0.0.1:53", "escape.test.evil.test.", dns.TypeA),
	"dns_glued":     ask("udp", "127.0.0.1:53", "notescape.test.", dns.TypeA),
	"dns_apex":      askName("udp", "127.0.0.1:53", "escape.test.", dns.TypeA),
	"dns_chaos":     askChaos,
	"dns_meta":      askName("udp", "127.0.0.1:53", "metadata.google.internal.", dns.TypeA),
	"dns_ptr":       askName("udp", "127.0.0.1:53", "7.2.0.192.in-addr.arpa.", dns.TypePTR),
	"dns_localhost": askName("udp", "127.0.0.1:53", "localhost.", dns.TypeA),
	"dns_8888":      ask("udp", "8.8.8.8:53", "escape.test.", dns.TypeA),
	"dns_8888_tcp":  ask("tcp", "8.8.8.8:53", "escape.test.", dns.TypeA),
	"dns_v6":        ask("udp", "[2001:4860:4860::8888]:53", "escape.test.", dns.TypeAAAA),
	"dns_v6_tcp":    ask("tcp", "[2001:4860:4860::8888]:53", "escape.test.", dns.TypeAAAA),
	"dns_mapped":    ask("udp", "[::ffff:8.8.8.8]:53", "escape.test.", dns.TypeA),
	"dns_8888_evil": ask("udp", "8.8.8.8:53", "evil.test.", dns.TypeA),
	"dns_v6_evil":   ask("tcp", "[2001:4860:4860::8888]:53", "evil.test.", dns.TypeA),
	"dns_system":    systemResolver,
	"hosts_file":    hostsFile,
	"resolv_conf":   resolvConf,
}

// label is this way's name as part of a host name, by which its record is
// known.
func label() string { return strings.ReplaceAll(filepath.Base(os.Args[0]), "_", "-") }

// ask asks about a name of this way's own below parent.
func ask(network, server, parent string, qtype uint16) way {
	return func() string { return askName(network, server, label()+"."+parent, qtype)() }
}

func askName(network, server, name string, qtype uint16) way {
	return func() string {
		query := new(dns.Msg)
		query.SetQuestion(name, qtype)
		reply, err := exchange(network, server, query)
		if err != nil {
			return dialWord(err)
		}
		return summary(reply)
	}
}

// askChaos asks what software answers (RFC 4892).
func askChaos() string {
	query := new(dns.Msg)
	query.SetQuestion(label()+".bind.", dns.TypeTXT)
	query.Question[0].Qclass = dns.ClassCHAOS
	reply, err := exchange("udp", "127.0.0.1:53", query)
	if err != nil {
		return dialWord(err)
	}
	return summary(reply)
}

func exchange(network, server string, query *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: network, Timeout: patience(), DialTimeout: patience()}
	reply, _, err := client.Exchange(query, server)
	return reply, err
}

// summary is the code, and what was answered.
func summary(reply *dns.Msg) string {
	words := []string{dns.RcodeToString[reply.Rcode]}
	for _, record := range reply.Answer {
		words = append(words, kind(record))
	}
	return strings.Join(words, ",")
}

func kind(record dns.RR) string {
	var address netip.Addr
	switch r := record.(type) {
	case *dns.A:
		address, _ = netip.AddrFromSlice(r.A.To4())
	case *dns.AAAA:
		address, _ = netip.AddrFromSlice(r.AAAA)
	default:
		return dns.TypeToString[record.Header().Rrtype]
	}
	if netip.MustParsePrefix("198.18.0.0/16").Contains(address) || netip.MustParsePrefix("fd70:6861:6e74::/64").Contains(address) {
		return "synthetic"
	}
	return address.String()
}

// lookup returns the address of a name, of tcp4 or tcp6.
func lookup(network, name string) (netip.Addr, error) {
	qtype := dns.TypeA
	if network == "tcp6" {
		qtype = dns.TypeAAAA
	}
	query := new(dns.Msg)
	query.SetQuestion(name+".", qtype)
	reply, err := exchange("udp", "127.0.0.1:53", query)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, record := range reply.Answer {
		switch r := record.(type) {
		case *dns.A:
			address, _ := netip.AddrFromSlice(r.A.To4())
			return address, nil
		case *dns.AAAA:
			address, _ := netip.AddrFromSlice(r.AAAA)
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address for %s", name)
}

// dialWord names what ended a dial or an exchange.
func dialWord(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return "silent"
	}
	return word(err)
}

// systemResolver asks for a name as programs do.
func systemResolver() string {
	_, err := net.LookupHost(label() + ".evil.test")
	var missing *net.DNSError
	if errors.As(err, &missing) && missing.IsNotFound {
		return "not_found"
	}
	return word(err)
}

// hostsFile says whether the host's own names are there to be used.
func hostsFile() string {
	data, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return word(err)
	}
	if strings.Contains(string(data), "203.0.113") {
		return "host's"
	}
	return "session's"
}

// resolvConf names the servers that programs ask, and tries to change them.
func resolvConf() string {
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return word(err)
	}
	var s steps
	s = append(s, config.Servers...)
	_, err = os.OpenFile("/etc/resolv.conf", os.O_WRONLY, 0)
	s.did("write", err)
	return s.String()
}

// deadline is when a connection has to be done.
func deadline() time.Time { return time.Now().Add(patience()) }
