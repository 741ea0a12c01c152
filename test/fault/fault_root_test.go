// SPDX-License-Identifier: Apache-2.0

//go:build fault

package fault

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// call is one line of testdata/calls.txt.
type call struct {
	role, name string
	least      int            // uses that there are at least
	outcomes   []string       // what a failure may lead to
	says       *regexp.Regexp // what the line about a refusal names
	lets       *regexp.Regexp // what may differ of the posture; nil: nothing
}

func readCalls(t *testing.T) []call {
	t.Helper()
	lets := make(map[string]*regexp.Regexp)
	for _, row := range readTable(t, "less", 3) {
		lets[row[0]+" "+row[1]] = regexp.MustCompile(row[2])
	}
	var all []call
	for _, row := range readTable(t, "calls", 5) {
		least, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, call{row[0], row[1], least, strings.Split(row[3], ","), regexp.MustCompile(row[4]), lets[row[0]+" "+row[1]]})
	}
	return all
}

// uses are those of n that are tried: first, last and one that changes from
// day to day, or all.
func uses(n int) []int {
	if os.Getenv("FAULT_ALL") == "" {
		day := int(time.Now().Unix() / (24 * 60 * 60))
		all := []int{1, 1 + day%n, n}
		slices.Sort(all)
		return slices.Compact(all)
	}
	var all []int
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// TestO2EverySetupCallFails fails each call in turn.
func TestO2EverySetupCallFails(t *testing.T) {
	s := newStage(t)
	rest := make(map[string]int)
	for key, n := range s.reference.Counts {
		rest[key] = n
	}
	for _, c := range readCalls(t) {
		key := c.role + " " + c.name
		n := rest[key]
		delete(rest, key)
		t.Run(c.role+"/"+c.name, func(t *testing.T) {
			if n < c.least {
				t.Fatalf("%d uses, the table says at least %d", n, c.least)
			}
			s.at(t).failCall(c, n)
		})
	}
	for key, n := range rest {
		t.Errorf("%s: %d uses, and no line in the table", key, n)
	}
}

// at is the stage for a subtest.
func (s *stage) at(t *testing.T) *stage {
	part := *s
	part.T = t
	return &part
}

func (s *stage) failCall(c call, n int) {
	before := rig.Snapshot(s)
	tap := s.world.Tap(nil)
	for _, use := range uses(n) {
		s.Run(strconv.Itoa(use), func(t *testing.T) {
			s := s.at(t)
			r, seen := s.session(fmt.Sprintf("%s:%s:%d:EPERM", c.role, c.name, use))
			outcome := s.judge(r, seen, c.lets)
			switch {
			case !seen.Fired && outcome == whole: // one use less than in the reference
			case !slices.Contains(c.outcomes, outcome):
				t.Errorf("%s, which is none of %v: %v", outcome, c.outcomes, r)
			case outcome == refused && !c.says.MatchString(r.Stderr):
				t.Errorf("no stage named as in %v: %v", c.says, r)
			}
			t.Logf("%s, exit %d: %s", outcome, r.Exit, r.Stderr)
		})
	}
	// What a dead supervisor left is for the next command to sweep.
	if r := s.world.Command(nil, "gc"); r.Exit != 0 {
		s.Errorf("gc: %v", r)
	}
	s.clean(tap, before)
}

// clean looks whether anything got out or was left.
func (s *stage) clean(tap *rig.Tap, before rig.Traces) {
	s.Helper()
	if left := rig.Leftovers(s, before); len(left) > 0 {
		s.Errorf("left behind: %v", left)
	}
	if packets := tap.Stop(); len(packets) > 0 {
		s.Errorf("%d packets on the tap, the first: %v", len(packets), packets[0])
	}
}
