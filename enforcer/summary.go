// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// tally is what the person at the terminal is told of a session when it ends.
// It is a fold over the records; the audit log has them all.
type tally struct {
	mu       sync.Mutex
	requests uint64
	allowed  uint64 // of the requests
	refused  uint64
	first    audit.Record      // the first refusal
	hosts    map[string]uint64 // refusals by host
}

// maxTallied bounds how many hosts are counted apart.
const maxTallied = 256

func (t *tally) add(records []audit.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range records {
		t.count(r)
	}
}

func (t *tally) count(r audit.Record) {
	if r.Kind == audit.KindRequest || r.Kind == audit.KindConnect {
		t.requests++
		if r.Verdict == audit.Allow {
			t.allowed++
		}
	}
	if r.Verdict != audit.Deny {
		return
	}
	if t.refused == 0 {
		t.first = r
	}
	t.refused += 1 + r.Suppressed
	if t.hosts == nil {
		t.hosts = make(map[string]uint64)
	}
	if host := hostOf(r); len(t.hosts) < maxTallied || t.hosts[host] > 0 {
		t.hosts[host] += 1 + r.Suppressed
	}
}

// hostOf is how a person would name where a record's connection was going.
func hostOf(r audit.Record) string {
	if r.Reason == audit.ReasonUnix && r.Path != "" {
		return strings.Map(printable, r.Path)
	}
	host := cmp.Or(r.Name, r.Address, r.Proto)
	if r.Port != 0 && r.Port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(int(r.Port)))
	}
	return strings.Map(printable, host)
}

// lines are at most three: how much, the first refusal with what to do about
// it, and where the others were going.
func (t *tally) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.requests+t.refused == 0 {
		return nil
	}
	out := []string{fmt.Sprintf("%s, %d refused", plural(t.requests, "request"), t.refused)}
	if t.refused == 0 {
		return out
	}
	first := hostOf(t.first)
	line := fmt.Sprintf("refused %s: %s (%s)", first, meaning(t.first.Reason), t.first.Reason)
	if t.first.Rule != "" {
		line += ", by " + strings.Map(printable, t.first.Rule)
	}
	out = append(out, line+remedy(t.first))
	others := slices.DeleteFunc(slices.Collect(maps.Keys(t.hosts)), func(host string) bool { return host == first })
	if len(others) == 0 {
		return out
	}
	slices.SortFunc(others, func(a, b string) int {
		return cmp.Or(cmp.Compare(t.hosts[b], t.hosts[a]), cmp.Compare(a, b))
	})
	var named []string
	for _, host := range others[:min(len(others), maxTold)] {
		named = append(named, fmt.Sprintf("%s (%d)", host, t.hosts[host]))
	}
	line = "refused as well: " + strings.Join(named, ", ")
	if rest := len(others) - maxTold; rest > 0 {
		line += fmt.Sprintf(" and %d more", rest)
	}
	return append(out, line)
}

func plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func meaning(reason audit.Reason) string {
	for _, e := range audit.Reasons() {
		if e.Reason == reason {
			return e.Meaning
		}
	}
	return "refused"
}

// remedy says what to do about a refusal, where there is one thing to do.
func remedy(r audit.Record) string {
	_, err := netip.ParseAddr(r.Name)
	host := r.Name
	if r.Port != 0 && r.Port != 443 {
		host = hostOf(r)
	}
	switch r.Reason {
	case audit.ReasonNameNotAllowed, audit.ReasonHostNotAllowed, audit.ReasonPortNotAllowed:
		if r.Name != "" && err != nil {
			return "; --allow " + strings.Map(printable, host) + " lets the session read there"
		}
	case audit.ReasonUndeclared, audit.ReasonAddressNotAllowed:
		return "; declare it in a policy: egress: [{address: …, port: …, protocol: tcp}], or forward: for a service of this host"
	case audit.ReasonMethodNotAllowed, audit.ReasonPathNotAllowed:
		return "; add the method and path to the rule's allow:"
	case audit.ReasonNoCredential:
		return "; store one with phantom-ns secret set, and name it with --with"
	case audit.ReasonForeignCredential:
		return "; store it with phantom-ns secret set, or say foreign_credentials: allow for the host"
	case audit.ReasonUnbound:
		return "; add the host to the credential's hosts"
	case audit.ReasonMisplaced:
		return "; add the position to the credential's inject"
	case audit.ReasonDialRefused:
		return "; networks: allows a private address for a host"
	case audit.ReasonConnectionLimit, audit.ReasonStreamLimit, audit.ReasonHeaderLimit:
		return "; limits: sets another bound"
	}
	return ""
}

// sumUp tells the person at the terminal how the session went, in at most five
// lines.
func (s *Session) sumUp() {
	if !s.started || !s.config.Attended {
		return // what a script prints is somebody's input
	}
	for _, line := range append(s.tally.lines(), s.changedSince(s.stampAutorun())...) {
		s.config.Notify(line)
	}
}
