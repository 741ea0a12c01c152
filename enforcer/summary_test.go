// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

func TestSummary(t *testing.T) {
	allowed := audit.Record{Kind: audit.KindRequest, Verdict: audit.Allow, Reason: audit.ReasonAllowed, Name: "api.test", Port: 443}
	name := audit.Record{Kind: audit.KindDNS, Verdict: audit.Deny, Reason: audit.ReasonNameNotAllowed, Name: "evil.test"}
	path := audit.Record{Kind: audit.KindRequest, Verdict: audit.Deny, Reason: audit.ReasonPathNotAllowed, Name: "api.test", Port: 443, Rule: "p.yaml:3"}
	udp := audit.Record{Kind: audit.KindDenied, Verdict: audit.Deny, Reason: audit.ReasonUDP, Address: "192.0.2.1", Port: 443, Suppressed: 9}
	for _, c := range []struct {
		records []audit.Record
		want    []string
	}{
		{nil, nil},
		{[]audit.Record{allowed}, []string{"1 request, 0 refused"}},
		{[]audit.Record{allowed, name, name}, []string{
			"1 request, 2 refused",
			"refused evil.test: a name was asked for that no rule could allow (name_not_allowed); --allow evil.test lets the session read there",
		}},
		{[]audit.Record{allowed, path, name, udp}, []string{
			"2 requests, 12 refused",
			"refused api.test: no rule for the host allows the path (path_not_allowed), by p.yaml:3; add the method and path to the rule's allow:",
			"refused as well: 192.0.2.1 (10), evil.test (1)",
		}},
	} {
		var sum tally
		sum.add(c.records)
		if diff := cmp.Diff(c.want, sum.lines()); diff != "" {
			t.Errorf("want (-), told (+):\n%s", diff)
		}
	}
}

// What the agent chose cannot fill the screen, nor act on it.
func TestSummaryIsBounded(t *testing.T) {
	var sum tally
	for i := range 10 * maxTallied {
		sum.count(audit.Record{Kind: audit.KindDNS, Verdict: audit.Deny, Reason: audit.ReasonNameNotAllowed, Name: fmt.Sprintf("\x1b[2J%d.test", i)})
	}
	lines := sum.lines()
	if len(lines) != 3 || len(sum.hosts) != maxTallied || strings.ContainsAny(strings.Join(lines, ""), "\x1b\n") {
		t.Errorf("%d hosts, %q", len(sum.hosts), lines)
	}
	for _, r := range audit.Reasons() {
		if strings.Contains(remedy(audit.Record{Reason: r.Reason, Name: "\x1b", Port: 1}), "\x1b") {
			t.Errorf("the remedy for %s acts on a terminal", r.Reason)
		}
	}
}
