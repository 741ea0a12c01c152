// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"flag"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

var update = flag.Bool("update", false, "rewrite the table of ways with what is seen")

// TestR1ToP14NoWayOut tries every way, as the user, as a daemon and as root of
// a user namespace.
func TestR1ToP14NoWayOut(t *testing.T) {
	built := attempt(t)
	want := readTable(t)
	for _, c := range columns {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, built)
			before := rig.Snapshot(t)
			tap := s.world.Tap(nil)
			sibling := s.startSibling(built)
			r := s.world.Run(rig.Session{Policy: s.policy(c.policy), Args: []string{program, c.mode, s.know()}, Timeout: 10 * time.Minute})
			if r.Exit != 0 || r.Stderr != "" {
				t.Fatalf("got %v", r)
			}
			sibling.nobodyCame(t)
			got, left := outcomes(t, r.Stdout), records(s.world.Audit())
			if *update {
				want = want.learn(c, got, left)
			}
			want.check(t, c, got, left)
			s.nothingEscaped(tap)
			if left := rig.Leftovers(t, before); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if *update {
		want.write(t)
	}
}

// nothingEscaped asks the tap, the host's servers and the upstream.
func (s *stage) nothingEscaped(tap *rig.Tap) {
	s.Helper()
	if packets := tap.Stop(); len(packets) > 0 {
		s.Errorf("%d packets on the tap, the first: %v", len(packets), packets[0])
	}
	if visits := s.bell.visits(); len(visits) > 0 {
		s.Errorf("servers of the host were reached: %v", visits)
	}
}

// check compares every way's outcome and records.
func (all table) check(t *testing.T, c column, got, left map[string]string) {
	t.Helper()
	for _, r := range all {
		want := r.want(c)
		if outcome := got[r.name]; !is(want.outcome, outcome) {
			t.Errorf("%s %s: %q, want %s", r.id, r.name, outcome, want.outcome)
		}
		if found := noted(left, r.name); !is(want.records, found) {
			t.Errorf("%s %s: records %s, want %s", r.id, r.name, found, want.records)
		}
	}
	for name := range got {
		if all.index(name) < 0 {
			t.Errorf("%s is not in the table", name)
		}
	}
	for who, found := range left {
		if all.index(who) < 0 {
			t.Errorf("records of %q, which is no way: %s", who, found)
		}
	}
}

func noted(left map[string]string, name string) string {
	if found := left[name]; found != "" {
		return found
	}
	return nothing
}

// learn takes over what was seen where the table does not say so already.
func (all table) learn(c column, got, left map[string]string) table {
	for name, outcome := range got {
		i := all.index(name)
		if i < 0 {
			all = append(all, row{id: "?", name: name, root: seen{same, same}})
			i = len(all) - 1
		}
		r := &all[i]
		now := seen{outcome, noted(left, name)}
		switch {
		case is(r.want(c).outcome, now.outcome) && is(r.want(c).records, now.records):
		case c.root:
			r.root = now
		case c.mode == "all":
			r.agent = now
		}
	}
	return all
}
