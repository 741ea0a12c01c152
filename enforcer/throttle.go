// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// An agent can be refused thousands of times in a second. The first refusals
// of a kind and reason are told one by one, then one a second with the number
// of those left out: some 40 MB a day for a reason, instead of a full disk. The
// name stub and the kernel half thin theirs out themselves.
const (
	refusalBurst  = 256
	refusalRefill = time.Second
)

// throttle thins out refusals. The zero value is ready; it holds at most one
// entry for each pair of the closed lists of kinds and reasons.
type throttle struct {
	mu    sync.Mutex
	kinds map[refusal]*refused
}

// refusal is what makes two refusals alike.
type refusal struct {
	kind   audit.Kind
	reason audit.Reason
}

// refused is what became of refusals that are alike.
type refused struct {
	tokens int
	filled time.Time    // when tokens was last brought up to date
	left   uint64       // records left out since the last one, last included
	last   audit.Record // of those
}

// reachedUpstream are the reasons of refusals whose request the upstream may
// have seen: each has its record.
var reachedUpstream = map[audit.Reason]bool{
	audit.ReasonUpstreamTimeout: true, audit.ReasonBadResponse: true, audit.ReasonTimeout: true,
}

// thin takes those out of records that are not to be written now.
func (t *throttle) thin(records []audit.Record, now time.Time) []audit.Record {
	kept := records[:0]
	for _, r := range records {
		if t.admit(&r, now) {
			kept = append(kept, r)
		}
	}
	return kept
}

// admit reports whether r is to be written now, and adds to it how many were
// left out before it.
func (t *throttle) admit(r *audit.Record, now time.Time) bool {
	if r.Verdict != audit.Deny || reachedUpstream[r.Reason] || r.Kind == audit.KindSession || r.Kind == audit.KindApproval {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	alike := t.alike(refusal{r.Kind, r.Reason}, now)
	if alike.tokens == 0 {
		alike.left += 1 + r.Suppressed
		alike.last = *r
		return false
	}
	alike.tokens--
	r.Suppressed += alike.left
	alike.left = 0
	return true
}

func (t *throttle) alike(key refusal, now time.Time) *refused {
	if t.kinds == nil {
		t.kinds = make(map[refusal]*refused)
	}
	alike := t.kinds[key]
	if alike == nil {
		alike = &refused{tokens: refusalBurst, filled: now}
		t.kinds[key] = alike
	}
	if more := now.Sub(alike.filled) / refusalRefill; more > 0 {
		alike.tokens = min(alike.tokens+int(min(more, refusalBurst)), refusalBurst)
		alike.filled = alike.filled.Add(more * refusalRefill)
	}
	return alike
}

// rest returns, for each kind of refusal of which some are not told, the last
// with the number of the others.
func (t *throttle) rest() []audit.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []audit.Record
	for _, alike := range t.kinds {
		if alike.left == 0 {
			continue
		}
		alike.last.Suppressed = alike.left - 1
		all = append(all, alike.last)
		alike.left = 0
	}
	return all
}
