// SPDX-License-Identifier: Apache-2.0

//go:build root

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
			t.Run(fmt.Sprintf("%s/%s/%s/%d/%s", role, stage, called, use, action), func(t *testing.T) {
				s.at(t).end(role, called, use, action)
			})
		}
	}
}

func (s *stage) end(role, called string, use int, action string) {
	before := rig.Snapshot(s)
	tap := s.world.Tap(nil)
	r, seen := s.session(fmt.Sprintf("%s:%s:%d:%s", role, called, use, action))
	outcome := s.judge(r, seen, nil)
	switch {
	case !seen.Fired:
		s.Errorf("there was no such moment: %v", r)
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
}
