// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var comparePrefixes = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

const wholePolicy = `# what this build supports
version: 1
credentials:
  openai:
    from: store:openai
    provider: openai
    env: [OPENAI_API_KEY]
    hosts: [API.openai.com.]
    inject: [bearer, token, basic: password, {basic: username}, header: X-Api-Key]
    outbound: {header: X-Api-Key}
    allow: ["GET *", "POST /v1/**"]
    anonymous: deny
    placeholder: shape
  KEY: {from: "env:KEY", env: [], hosts: ["*.a.test"], allow: [], placeholder: name}
  tool:
    from: exec:/usr/bin/pass show 'a b'
    placeholder: "text{hex:32}"
    anonymous: read
egress:
  - host: "*.docs.example"
  - host: x.test
    port: 8443
    protocol: https
    tls: inspect
    allow: ["* /a/**"]
    foreign_credentials: allow
    networks: [10.0.0.0/8, fd00::/8, 192.168.1.1]
    approve: never
  - {host: pinned.test, tls: passthrough}
  - {host: plain.test, port: 80, protocol: http, allow: []}
  - {address: 10.0.0.0/8, port: 5432, protocol: tcp}
hosts:
  api.openai.com: {connect: "127.0.0.1:9443", ca: /etc/phantom-ns/gateway-ca.pem}
  x.test: {connect: "::1"}
upstream: {networks: [172.16.0.0/12]}
forward: ["127.0.0.1:5432", "[::1]:6379", "DB.corp:3306"]
filesystem: {home: read-only, write: [., ./out, ~/.cache/tool, /srv/x/], hide: [secrets], expose: [~/.config/x]}
permit: [nested_sandbox, ptrace, io_uring]
limits: {connections: 16, streams: 8, header_bytes: 8192}
audit: {full: block}
`

func TestParseWholePolicy(t *testing.T) {
	got, err := Parse("p.yaml", []byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix
	want := &File{
		Name: "p.yaml",
		Credentials: []Declared{
			{
				Name: "openai", From: "store:openai", Provider: "openai", Env: []string{"OPENAI_API_KEY"}, Hosts: []string{"api.openai.com"},
				Positions: []Position{{Kind: "bearer"}, {Kind: "token"}, {"basic", "password"}, {"basic", "username"}, {"header", "x-api-key"}},
				Outbound:  &Position{"header", "x-api-key"},
				Allow:     []Allow{{"GET", "*", "p.yaml:11"}, {"POST", "/v1/**", "p.yaml:11"}},
				Anonymous: "deny", Rule: "p.yaml:4",
			},
			{
				Name: "KEY", From: "env:KEY", Env: []string{}, Hosts: []string{"*.a.test"}, Allow: []Allow{},
				Placeholder: &Shape{Mode: "name"}, Rule: "p.yaml:14",
			},
			{
				Name: "tool", From: "exec:/usr/bin/pass show 'a b'", Anonymous: "read",
				Placeholder: &Shape{Mode: "template", Templates: []string{"text{hex:32}"}}, Rule: "p.yaml:15",
			},
		},
		Egress: []Egress{
			{Host: "*.docs.example", Port: 443, Protocol: HTTPS, Allow: reads("p.yaml:20"), Rule: "p.yaml:20"},
			{
				Host: "x.test", Port: 8443, Protocol: HTTPS, Allow: []Allow{{"*", "/a/**", "p.yaml:25"}}, Foreign: true,
				Networks: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8"), prefix("192.168.1.1/32")}, Rule: "p.yaml:21",
			},
			{Host: "pinned.test", Port: 443, Protocol: HTTPS, Passthrough: true, Rule: "p.yaml:29"},
			{Host: "plain.test", Port: 80, Protocol: HTTP, Allow: []Allow{}, Rule: "p.yaml:30"},
			{Address: prefix("10.0.0.0/8"), Port: 5432, Protocol: TCP, Rule: "p.yaml:31"},
		},
		Hosts: []HostTarget{
			{Host: "api.openai.com", Connect: "127.0.0.1:9443", CAFile: "/etc/phantom-ns/gateway-ca.pem", Rule: "p.yaml:33"},
			{Host: "x.test", Connect: "::1", Rule: "p.yaml:34"},
		},
		Upstream:   Upstream{Networks: []netip.Prefix{prefix("172.16.0.0/12")}},
		Forward:    []Forward{{5432, "127.0.0.1:5432", "p.yaml:36"}, {6379, "[::1]:6379", "p.yaml:36"}, {3306, "db.corp:3306", "p.yaml:36"}},
		Filesystem: Filesystem{"read-only", []string{".", "out", "~/.cache/tool", "/srv/x"}, []string{"secrets"}, []string{"~/.config/x"}},
		Permit:     []string{"nested_sandbox", "ptrace", "io_uring"},
		Limits:     Limits{16, 8, 8192},
		AuditFull:  "block",
		KeyAtRest:  "warn",
	}
	if diff := cmp.Diff(want, got, comparePrefixes, cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseFillsInDefaults(t *testing.T) {
	got, err := Parse("p.yaml", []byte("version: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Name: "p.yaml", Filesystem: Filesystem{Home: "overlay", Write: []string{"."}},
		Limits: Limits{512, 100, 65536}, AuditFull: "block", KeyAtRest: "warn",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Error(diff)
	}
}

// Every wrong policy is told with its place. The text of the file is never part
// of the message: each case holds the word CANARY, or canary, where it is wrong.
func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, at, message string }{
		"O3 empty":               {"", "1:1", "empty"},
		"O3 comments alone":      {"# CANARY\n", "1:1", "empty"},
		"O3 blank":               {"\n\n", "1:1", "empty"},
		"no version":             {"egress: []\n", "1:1", "version: missing"},
		"version 2":              {"version: 2\n", "1:10", "version: want a decimal integer from 1 to 1"},
		"version text":           {"version: \"1\"\n", "1:10", "want an integer"},
		"version float":          {"version: 1.0\n", "1:10", "want an integer"},
		"version octal":          {"version: 01\n", "1:10", "want a decimal"},
		"root is a list":         {"- CANARY\n", "1:1", "want a mapping, found a list"},
		"root is text":           {"CANARY\n", "1:1", "want a mapping, found text"},
		"unknown key":            {"version: 1\nCANARY: 1\n", "2:1", "unknown key; known: audit, credentials, egress"},
		"key in other case":      {"version: 1\nEgress: []\n", "2:1", "unknown key"},
		"unknown inner key":      {"version: 1\ncredentials:\n  a: {CANARY: 1}\n", "3:7", "credentials: unknown key"},
		"duplicate root key":     {"version: 1\negress: []\negress: []\n", "3:1", "the same key twice"},
		"duplicate credential":   {"version: 1\ncredentials:\n  CANARY: {}\n  CANARY: {}\n", "4:3", "the same key twice"},
		"duplicate flow key":     {"version: 1\naudit: {full: block, full: block}\n", "2:22", "the same key twice"},
		"key is a number":        {"version: 1\n2: CANARY\n", "2:1", "a key that is no plain text"},
		"key is complex":         {"version: 1\n? CANARY\n: 1\n", "2:1", "a key that is no plain text"},
		"merge key":              {"version: 1\n<<: {CANARY: 1}\n", "2:1", "a key that is no plain text"},
		"anchor":                 {"version: 1\negress: &CANARY []\n", "2:9", "anchors"},
		"alias":                  {"version: 1\negress: *CANARY\n", "2:9", "anchors"},
		"unquoted wildcard":      {"version: 1\negress: [{host: *.CANARY}]\n", "2:17", "quote text that begins with"},
		"tag":                    {"version: !!int 1\n", "1:10", "a kind of YAML that a policy does not use"},
		"second document":        {"version: 1\n---\nCANARY: 1\n", "3:7", "a second document"},
		"not YAML":               {"version: 1\nCANARY: [\n", "2:9", "not valid YAML"},
		"tab":                    {"version: 1\n\tCANARY: 1\n", "2:1", "not valid YAML"},
		"open quote":             {"version: \"CANARY\n", "1:10", "not valid YAML"},
		"not UTF-8":              {"version: 1 # \xff\n", "1:1", "not UTF-8"},
		"a file like shadow":     {"root:$y$CANARY:19000:0:99999:7:::\ndaemon:*:19000::::::\n", "1:1", "unknown key"},
		"a private key":          {"-----BEGIN CANARY-----\nabc\n-----END-----\n", "1:1", "want a mapping"},
		"deep brackets":          {"version: " + strings.Repeat("[", 5000), "1:1", "brackets nested too deep"},
		"deep blocks":            {"version: 1\npermit:\n  " + strings.Repeat("- ", 100) + "CANARY\n", "3:35", "nested deeper"},
		"too long":               {"version: 1\n#" + strings.Repeat("x", maxFile), "1:1", "longer than"},
		"null section":           {"version: 1\negress:\n", "2:9", "egress: want a list, found a null"},
		"null credential":        {"version: 1\ncredentials:\n  openai:\n", "3:11", "want a mapping"},
		"credentials list":       {"version: 1\ncredentials: [CANARY]\n", "2:14", "want a mapping, found a list"},
		"credential name":        {"version: 1\ncredentials: {\"CAN ARY\": {}}\n", "2:15", "credentials: want a name"},
		"env number":             {"version: 1\ncredentials: {a: {env: [123]}}\n", "2:25", "put it in quotes"},
		"env not a name":         {"version: 1\ncredentials: {a: {env: [\"CANARY=1\"]}}\n", "2:25", "want a variable's name"},
		"env text":               {"version: 1\ncredentials: {a: {env: CANARY}}\n", "2:24", "want a list, found text"},
		"no host":                {"version: 1\ncredentials: {a: {hosts: []}}\n", "2:26", "an empty list"},
		"no position":            {"version: 1\ncredentials: {a: {inject: []}}\n", "2:27", "an empty list"},
		"unknown position":       {"version: 1\ncredentials: {a: {inject: [CANARY]}}\n", "2:28", "want one of bearer"},
		"position without value": {"version: 1\ncredentials: {a: {inject: [header]}}\n", "2:28", "want one of bearer"},
		"position in one text":   {"version: 1\ncredentials: {a: {inject: [\"header: CANARY\"]}}\n", "2:28", "want one of bearer"},
		"position of two":        {"version: 1\ncredentials: {a: {inject: [{header: a, basic: password}]}}\n", "2:28", "want one of bearer"},
		"basic of nothing":       {"version: 1\ncredentials: {a: {inject: [{basic: CANARY}]}}\n", "2:36", "want one of password, username"},
		"header not a token":     {"version: 1\ncredentials: {a: {inject: [{header: \"CAN ARY\"}]}}\n", "2:37", "not the name of a header field"},
		"header of framing":      {"version: 1\ncredentials: {a: {inject: [{header: Content-Length}]}}\n", "2:37", "belongs to the connection"},
		"header Host":            {"version: 1\ncredentials: {a: {inject: [{header: HOST}]}}\n", "2:37", "belongs to the connection"},
		"header line feed":       {"version: 1\ncredentials: {a: {inject: [{header: \"a\\nCANARY\"}]}}\n", "2:37", "a control character"},
		"outbound list":          {"version: 1\ncredentials: {a: {outbound: [bearer]}}\n", "2:29", "want one of bearer"},
		"source without kind":    {"version: 1\ncredentials: {a: {from: sk-CANARY}}\n", "2:25", "want store:NAME"},
		"source unknown":         {"version: 1\ncredentials: {a: {from: \"CANARY:x\"}}\n", "2:25", "want store:NAME"},
		"source relative file":   {"version: 1\ncredentials: {a: {from: file:CANARY}}\n", "2:25", "want store:NAME"},
		"source relative exec":   {"version: 1\ncredentials: {a: {from: exec:CANARY x}}\n", "2:25", "want store:NAME"},
		"source dot dot":         {"version: 1\ncredentials: {a: {from: file:/x/../CANARY}}\n", "2:25", "want store:NAME"},
		"source empty":           {"version: 1\ncredentials: {a: {from: \"store:\"}}\n", "2:25", "want store:NAME"},
		"allow without glob":     {"version: 1\ncredentials: {a: {allow: [CANARY]}}\n", "2:27", "want \"METHOD GLOB\""},
		"allow lower case":       {"version: 1\ncredentials: {a: {allow: [\"get /canary\"]}}\n", "2:27", "upper case"},
		"allow CONNECT":          {"version: 1\ncredentials: {a: {allow: [\"CONNECT *\"]}}\n", "2:27", "never sent upstream"},
		"allow TRACE":            {"version: 1\negress: [{host: a.test, allow: [\"TRACE *\"]}]\n", "2:33", "never sent upstream"},
		"allow relative":         {"version: 1\ncredentials: {a: {allow: [\"GET CANARY\"]}}\n", "2:27", "begins with a slash"},
		"allow query":            {"version: 1\ncredentials: {a: {allow: [\"GET /a?CANARY\"]}}\n", "2:27", "only * and ** are special"},
		"anonymous":              {"version: 1\ncredentials: {a: {anonymous: CANARY}}\n", "2:30", "want one of deny, read"},
		"placeholder short":      {"version: 1\ncredentials: {a: {placeholder: \"CANARY{hex:31}\"}}\n", "2:32", "fewer than 128 random bits"},
		"placeholder constant":   {"version: 1\ncredentials: {a: {placeholder: CANARY}}\n", "2:32", "fewer than 128 random bits"},
		"placeholder group":      {"version: 1\ncredentials: {a: {placeholder: \"{CANARY:32}\"}}\n", "2:32", "unknown group"},
		"placeholder space":      {"version: 1\ncredentials: {a: {placeholder: \"CAN ARY{hex:32}\"}}\n", "2:32", "letters, digits"},
		"N1 host with NUL":       {"version: 1\negress: [{host: \"a\\0CANARY.test\"}]\n", "2:17", "a control character"},
		"N3 host with port":      {"version: 1\negress: [{host: \"canary.test:443\"}]\n", "2:17", "bad host name"},
		"N6 host is an address":  {"version: 1\negress: [{host: 127.0.0.1}]\n", "2:17", "last label is a number"},
		"N6 host is a number":    {"version: 1\negress: [{host: 2130706433}]\n", "2:17", "want text"},
		"wildcard inside":        {"version: 1\negress: [{host: \"a.*.canary\"}]\n", "2:17", "bad host name"},
		"wildcard over TLD":      {"version: 1\negress: [{host: \"*.canary\"}]\n", "2:17", "whole top-level domain"},
		"no destination":         {"version: 1\negress: [{port: 443}]\n", "2:10", "want host or address"},
		"both destinations":      {"version: 1\negress: [{host: a.test, address: 10.0.0.0/8, protocol: tcp}]\n", "2:10", "want host or address"},
		"address over https":     {"version: 1\negress: [{address: 10.0.0.0/8}]\n", "2:10", "say protocol: tcp"},
		"address loopback":       {"version: 1\negress: [{address: 127.0.0.1, protocol: tcp}]\n", "2:20", "overlaps loopback"},
		"address synthetic":      {"version: 1\negress: [{address: 198.18.4.0/24, protocol: tcp}]\n", "2:20", "overlaps loopback"},
		"address synthetic 6":    {"version: 1\negress: [{address: \"fd70:6861:6e74::/64\", protocol: tcp}]\n", "2:20", "overlaps loopback"},
		"address covers both":    {"version: 1\negress: [{address: \"fd00::/8\", protocol: tcp}]\n", "2:20", "overlaps loopback"},
		"address everything":     {"version: 1\negress: [{address: 0.0.0.0/0, protocol: tcp}]\n", "2:20", "wider than /8"},
		"address mapped":         {"version: 1\negress: [{address: \"::ffff:10.0.0.0/104\", protocol: tcp}]\n", "2:20", "write an IPv4 network as IPv4"},
		"address host bits":      {"version: 1\negress: [{address: 10.0.0.1/8, protocol: tcp}]\n", "2:20", "bits are set"},
		"address a name":         {"version: 1\negress: [{address: canary.test, protocol: tcp}]\n", "2:20", "want ADDRESS/BITS"},
		"networks everything":    {"version: 1\nupstream: {networks: [\"::/0\"]}\n", "2:23", "wider than /7"},
		"port zero":              {"version: 1\negress: [{host: a.test, port: 0}]\n", "2:31", "from 1 to 65535"},
		"port too large":         {"version: 1\negress: [{host: a.test, port: 65536}]\n", "2:31", "from 1 to 65535"},
		"port octal":             {"version: 1\negress: [{host: a.test, port: 0443}]\n", "2:31", "want a"},
		"port huge":              {"version: 1\negress: [{host: a.test, port: 99999999999999999999}]\n", "2:31", "want a"},
		"port 80 https":          {"version: 1\negress: [{host: a.test, port: 80}]\n", "2:10", "port 80 is for protocol: http alone"},
		"port 80 tcp":            {"version: 1\negress: [{host: a.test, port: 80, protocol: tcp}]\n", "2:10", "port 80 is for protocol: http alone"},
		"protocol":               {"version: 1\negress: [{host: a.test, protocol: CANARY}]\n", "2:35", "want one of https, http, tcp"},
		"tls with tcp":           {"version: 1\negress: [{host: a.test, protocol: tcp, tls: inspect}]\n", "2:45", "only protocol: https"},
		"allow with tcp":         {"version: 1\negress: [{host: a.test, protocol: tcp, allow: []}]\n", "2:47", "no effect"},
		"foreign, passthrough":   {"version: 1\negress: [{host: a.test, tls: passthrough, foreign_credentials: deny}]\n", "2:64", "no effect"},
		"networks, address":      {"version: 1\negress: [{address: 10.0.0.0/8, protocol: tcp, networks: []}]\n", "2:57", "its own allowance"},
		"same host twice":        {"version: 1\negress:\n- host: canary.test\n- host: CANARY.test.\n", "4:3", "the same host and port as at p.yaml:3"},
		"hosts wildcard":         {"version: 1\nhosts: {\"*.canary.test\": {connect: 10.0.0.1}}\n", "2:9", "bad host name"},
		"hosts twice":            {"version: 1\nhosts: {canary.test: {connect: 10.0.0.1}, CANARY.test: {connect: 10.0.0.1}}\n", "2:43", "the same host twice"},
		"hosts empty":            {"version: 1\nhosts: {canary.test: {}}\n", "2:22", "want connect, ca or both"},
		"hosts connect":          {"version: 1\nhosts: {a.test: {connect: \"CANARY:x\"}}\n", "2:27", "want HOST:PORT"},
		"hosts connect short":    {"version: 1\nhosts: {a.test: {connect: \"127.1:443\"}}\n", "2:27", "want HOST:PORT"},
		"hosts connect zone":     {"version: 1\nhosts: {a.test: {connect: \"[fe80::1%lo]:443\"}}\n", "2:27", "want HOST:PORT"},
		"hosts relative ca":      {"version: 1\nhosts: {a.test: {ca: CANARY.pem}}\n", "2:22", "want an absolute path"},
		"forward without port":   {"version: 1\nforward: [127.0.0.1]\n", "2:11", "want HOST:PORT"},
		"forward twice":          {"version: 1\nforward: [\"10.0.0.1:5432\", \"10.0.0.2:5432\"]\n", "2:28", "the same port twice"},
		"write root":             {"version: 1\nfilesystem: {write: [/]}\n", "2:22", "path: want"},
		"write above":            {"version: 1\nfilesystem: {write: [../CANARY]}\n", "2:22", "path: want"},
		"write through":          {"version: 1\nfilesystem: {write: [a/../../CANARY]}\n", "2:22", "path: want"},
		"write other home":       {"version: 1\nfilesystem: {write: [~CANARY/x]}\n", "2:22", "only the session's own home"},
		"permit":                 {"version: 1\npermit: [CANARY]\n", "2:10", "want one of nested_sandbox"},
		"limit zero":             {"version: 1\nlimits: {connections: 0}\n", "2:23", "from 1 to 65536"},
		"limit negative":         {"version: 1\nlimits: {streams: -1}\n", "2:19", "from 1 to 10000"},
		"limit with underscore":  {"version: 1\nlimits: {header_bytes: 65_536}\n", "2:24", "decimal"},
		"limit hex":              {"version: 1\nlimits: {header_bytes: 0x10000}\n", "2:24", "decimal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(c.text))
			var at *ParseError
			if !errors.As(err, &at) {
				t.Fatalf("%v; want a ParseError", err)
			}
			if place := fmt.Sprintf("%d:%d", at.Line, at.Column); place != c.at {
				t.Errorf("at %s, want %s: %v", place, c.at, err)
			}
			if !strings.Contains(at.Message, c.message) {
				t.Errorf("%q, want %q", at.Message, c.message)
			}
			if strings.Contains(strings.ToLower(err.Error()), "canary") {
				t.Errorf("the message quotes the file: %v", err)
			}
			if strings.ContainsAny(at.Excerpt, "\n\t\x00\x1b") || len([]rune(at.Excerpt)) > maxExcerpt+1 {
				t.Errorf("excerpt %q", at.Excerpt)
			}
		})
	}
}

func TestExcerptIsTheLine(t *testing.T) {
	_, err := Parse("p.yaml", []byte("version: 1\nx\u202e: \"\x1b[31m\"\n"))
	var at *ParseError
	if !errors.As(err, &at) || at.Excerpt != "x : \" [31m\"" {
		t.Fatalf("%#v", err)
	}
}

// Every key and value without a mechanism is told as such, and reads well once
// its line in the table is gone.
func TestUnsupportedIsRefusedByName(t *testing.T) {
	cases := map[string]string{
		"egress.approve: ask": "egress: [{host: a.test, approve: ask}]",
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(unsupported)), slices.Sorted(maps.Keys(cases))); diff != "" {
		t.Error(diff)
	}
	for path, text := range cases {
		t.Run(path, func(t *testing.T) {
			data := []byte("version: 1\n" + text + "\n")
			if _, err := Parse("p.yaml", data); err == nil || !strings.HasSuffix(err.Error(), ": not supported by this build: "+path) {
				t.Errorf("refused as: %v", err)
			}
			later := &reader{file: "p.yaml", data: data}
			if _, err := later.policy(); err != nil {
				t.Errorf("does not read when it is supported: %v", err)
			}
		})
	}
}

// published are n ports.
func published(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprintf(`"127.0.0.1:%d:80"`, 3000+i))
	}
	return texts
}

func TestKeysOfLaterIssuesAreValidated(t *testing.T) {
	for name, text := range map[string]string{
		"publish everywhere":  `publish: ["0.0.0.0:3000:3000"]`,
		"publish on a link":   `publish: ["203.0.113.2:3000:3000"]`,
		"publish mapped":      `publish: ["[::ffff:127.0.0.1]:3000:3000"]`,
		"publish by name":     `publish: ["localhost:3000:3000"]`,
		"publish twice":       `publish: ["127.0.0.1:3000:3000", "127.0.0.1:3000:3001"]`,
		"publish two ports":   `publish: ["3000:3000"]`,
		"publish no port":     `publish: ["127.0.0.1:3000:"]`,
		"publish zero":        `publish: ["127.0.0.1:0:3000"]`,
		"publish no colon":    `publish: ["x"]`,
		"publish too many":    "publish: [" + strings.Join(published(maxPublish+1), ", ") + "]",
		"proxy without port":  `upstream: {proxy: "http://proxy.corp"}`,
		"proxy over TLS":      `upstream: {proxy: "https://proxy.corp:3128"}`,
		"proxy with a path":   `upstream: {proxy: "http://proxy.corp:3128/x"}`,
		"proxy user alone":    `upstream: {proxy: "http://u@proxy.corp:3128"}`,
		"proxy with CRLF":     `upstream: {proxy: "http://u:p%0d%0aX:y@proxy.corp:3128"}`,
		"proxy with two":      `upstream: {proxy: "http://u:p@proxy.corp:3128", user: v}`,
		"user without proxy":  `upstream: {user: v}`,
		"user with a colon":   `upstream: {proxy: "http://proxy.corp:3128", user: "v:w"}`,
		"password alone":      `upstream: {proxy: "http://proxy.corp:3128", password: "file:/x"}`,
		"password itself":     `upstream: {proxy: "http://proxy.corp:3128", user: v, password: hunter2}`,
		"hosts a list":        "hosts: [a.test]",
		"grant, no client":    `credentials: {a: {grant: {token: "https://a.test/t"}}}`,
		"lifetime of env":     "credentials: {a: {from: \"env:X\", lifetime: 1h}}",
		"grant over http":     `credentials: {a: {grant: {token: "http://a.test/t", client: c}}}`,
		"grant with a query":  `credentials: {a: {grant: {token: "https://a.test/t?x", client: c}}}`,
		"grant with a user":   `credentials: {a: {grant: {token: "https://u@a.test/t", client: c}}}`,
		"grant without path":  `credentials: {a: {grant: {token: "https://a.test", client: c}}}`,
		"client without name": `credentials: {a: {grant: {token: "https://a.test/t", client: ""}}}`,
		"file without field":  "credentials: {a: {files: [{path: /x, format: json}]}}",
		"json with tilde":     "credentials: {a: {inject: [json: /a~2]}}",
		"cookie no token":     "credentials: {a: {inject: [cookie: \"a=b\"]}}",
		"path of two":         "credentials: {a: {inject: [path: a/b]}}",
		"scheme of ours":      "credentials: {a: {inject: [scheme: Bearer]}}",
		"scheme no token":     "credentials: {a: {inject: [scheme: a b]}}",
		"header of protocols": "credentials: {a: {inject: [header: Sec-WebSocket-Protocol]}}",
		"outbound path":       "credentials: {a: {outbound: path}}",
		"outbound cookie":     "credentials: {a: {outbound: {cookie: a}}}",
		"outbound body":       "credentials: {a: {outbound: {json: /a}}}",
		"json without slash":  "credentials: {a: {inject: [json: token]}}",
		"profile not a name":  "profile: ../x",
		"profile unknown":     "profile: clod",
		"telemetry a boolean": "telemetry: true",
	} {
		t.Run(name, func(t *testing.T) {
			later := &reader{file: "p.yaml", data: []byte("version: 1\n" + text + "\n")}
			if _, err := later.policy(); err == nil {
				t.Error("passed")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(wholePolicy))
	f.Add([]byte("version: 1\nprofile: x\npublish: [\"127.0.0.1:1:1\"]\n"))
	f.Add([]byte("a: &b [*b, <<: {}]\n? x\n"))
	f.Add([]byte("version: 1\negress: [{address: \"::/0\", protocol: tcp}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("p.yaml", data)
		if err != nil {
			var at *ParseError
			if file != nil || !errors.As(err, &at) || at.Line < 1 || at.Column < 1 || strings.ContainsAny(at.Message, "\n\r\x00\x1b") {
				t.Fatalf("%v, %#v", file, err)
			}
			return
		}
		s, err := Resolve(file, Flags{}, func(string) ([]string, string, bool) { return []string{"a.test"}, "", true })
		if err != nil {
			return
		}
		for i := range s.Hosts {
			s.Hosts[i].CAFile = ""
		}
		r, err := Compile(s)
		if err != nil {
			return
		}
		for _, e := range s.Egress {
			if e.Host != "" && !strings.HasPrefix(e.Host, "*") && !r.Connect(e.Host, e.Port).Allow {
				t.Fatalf("%s:%d is declared and refused", e.Host, e.Port)
			}
		}
	})
}
