// SPDX-License-Identifier: Apache-2.0

//go:build fault

package fault

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestO5KilledAndStoppedAtEveryStage kills each of our processes, or stops it
// for a while and kills it then, at the moments of testdata/moments.txt.
func TestO5KilledAndStoppedAtEveryStage(t *testing.T) {
	s := newStage(t)
	for _, row := range readTable(t, "moments", 4) {
		role, stage, called := row[0], row[1], row[2]
		use := s.reference.Counts[role+" "+called]
		if row[3] != "last" {
			var err error
			if use, err = strconv.Atoi(row[3]); err != nil {
				t.Fatal(err)
			}
		}
		for _, action := range []string{"KILL", "STOP"} {
			t.Run(fmt.Sprintf("%s/%s/%s/%s/%s", role, stage, called, row[3], action), func(t *testing.T) {
				s := s.at(t)
				fired := s.end(role, called, use, action)
				// Two threads of the supervisor load programs: not every session
				// makes as many calls as the reference.
				for fewer := 1; !fired && row[3] == "last" && fewer <= spread && fewer < use; fewer++ {
					fired = s.end(role, called, use-fewer, action)
				}
				if !fired {
					t.Error("there was no such moment")
				}
			})
		}
	}
}

// spread is how many uses of a call fewer than in the reference a session may
// make.
const spread = 4

// end ends one process and reports whether it came to that.
func (s *stage) end(role, called string, use int, action string) (fired bool) {
	before := rig.Snapshot(s)
	tap := s.world.Tap(nil)
	r, seen := s.session(fmt.Sprintf("%s:%s:%d:%s", role, called, use, action))
	outcome := s.judge(r, seen, nil)
	switch {
	case !seen.Fired && outcome != whole:
		s.Errorf("nothing was ended, and: %v", r)
	case !seen.Fired:
	case outcome == whole:
		s.Errorf("the session ended as if nothing had happened: %v", r)
	case outcome == died && role != "supervisor":
		s.Errorf("a process of ours took the supervisor with it: %v", r)
	}
	// What a dead supervisor left is for the next command to sweep.
	if r := s.world.Command(nil, "gc"); r.Exit != 0 {
		s.Errorf("gc: %v", r)
	}
	s.clean(tap, before)
	return seen.Fired
}
