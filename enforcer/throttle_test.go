// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// Whatever is left out is counted once, in a record that is written.
func TestThrottleCountsWhatItLeavesOut(t *testing.T) {
	var limit throttle
	now := time.Unix(1000, 0)
	told, counted := 0, uint64(0)
	tell := func(r audit.Record) {
		if limit.admit(&r, now) {
			told++
			counted += 1 + r.Suppressed
		}
	}
	refused := audit.Record{Kind: audit.KindRequest, Verdict: audit.Deny, Reason: audit.ReasonHostNotAllowed}
	for range 1000 {
		tell(refused)
	}
	if told != refusalBurst || counted != refusalBurst {
		t.Errorf("at once: %d told, %d counted", told, counted)
	}
	now = now.Add(3 * time.Second)
	for range 10 {
		tell(refused)
	}
	if told != refusalBurst+3 || counted != 1003 {
		t.Errorf("3 s later: %d told, %d counted", told, counted)
	}
	rest := limit.rest()
	if len(rest) != 1 || counted+1+rest[0].Suppressed != 1010 {
		t.Errorf("rest %+v after %d", rest, counted)
	}
	if again := limit.rest(); again != nil {
		t.Errorf("rest again: %+v", again)
	}
}

// What thinned itself out before keeps its count.
func TestThrottleAddsCountsUp(t *testing.T) {
	var limit throttle
	now := time.Unix(1000, 0)
	var counted uint64
	for range refusalBurst + 5 {
		r := audit.Record{Kind: audit.KindConnect, Verdict: audit.Deny, Reason: audit.ReasonConnectionLimit, Suppressed: 9}
		if limit.admit(&r, now) {
			counted += 1 + r.Suppressed
		}
	}
	for _, r := range limit.rest() {
		counted += 1 + r.Suppressed
	}
	if want := uint64(10 * (refusalBurst + 5)); counted != want {
		t.Errorf("%d counted, want %d", counted, want)
	}
}

// A flood of one kind hides no other, and nothing that an upstream may have
// seen.
func TestThrottleHidesNothingElse(t *testing.T) {
	var limit throttle
	now := time.Unix(1000, 0)
	for range 10000 {
		limit.admit(&audit.Record{Kind: audit.KindRequest, Verdict: audit.Deny, Reason: audit.ReasonHostNotAllowed}, now)
	}
	for name, r := range map[string]audit.Record{
		"another reason": {Kind: audit.KindRequest, Verdict: audit.Deny, Reason: audit.ReasonPathNotAllowed},
		"another kind":   {Kind: audit.KindConnect, Verdict: audit.Deny, Reason: audit.ReasonHostNotAllowed},
	} {
		if !limit.admit(&r, now) || r.Suppressed != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for name, r := range map[string]audit.Record{
		"allowed":        {Kind: audit.KindRequest, Verdict: audit.Allow, Reason: audit.ReasonAllowed},
		"upstream seen":  {Kind: audit.KindRequest, Verdict: audit.Deny, Reason: audit.ReasonBadResponse},
		"session's life": {Kind: audit.KindSession, Verdict: audit.Deny, Reason: audit.ReasonKeyAtRest},
	} {
		for range 2 * refusalBurst {
			if !limit.admit(&r, now) || r.Suppressed != 0 {
				t.Fatalf("%s: %+v", name, r)
			}
		}
	}
}
