// SPDX-License-Identifier: Apache-2.0

//go:build fault

package fault

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const policy = `version: 1
credentials:
  fault:
    from: %s
    env: [FAULT_KEY]
    hosts: [api.fault.test]
egress:
  - host: docs.fault.test
`

// said is what an agent prints that executed and was held.
const said = "executed\nheld\n"

// stage is a world with what a session may use, and the tracer.
type stage struct {
	*testing.T
	world     *rig.World
	dir       string
	policy    string
	reference report
}

// report is inject's.
type report struct {
	Counts   map[string]int
	Fired    bool
	Executed bool
	Posture  []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, world: rig.New(t), dir: t.TempDir()}
	for _, program := range []string{"inject", "agent"} {
		if err := rig.GoBuild(filepath.Join(s.dir, program), "./test/fault/"+program); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(filepath.Join(s.dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	s.world.Give(rig.Home+"/agent", program, 0o755)
	s.world.Give(rig.Home+"/.netrc", []byte("machine api.fault.test login me password secret\n"), 0o600)
	s.policy = fmt.Sprintf(policy, s.world.Secret("fault", rig.Canary(t, "sk-")))
	s.session("-") // what the first session makes once: directories, a seed
	var r rig.Result
	r, s.reference = s.session("-")
	if r.Exit != 0 || r.Stdout != said || !s.reference.Executed {
		t.Fatalf("without a fault: %v", r)
	}
	return s
}

// session runs one with a fault.
func (s *stage) session(fault string) (rig.Result, report) {
	s.Helper()
	path := filepath.Join(s.dir, "report")
	if err := os.RemoveAll(path); err != nil {
		s.Fatal(err)
	}
	r := s.world.Run(rig.Session{
		Policy: s.policy, Args: []string{rig.Home + "/agent"}, Timeout: 20 * time.Second,
		Under: []string{filepath.Join(s.dir, "inject"), path, fault},
	})
	data, err := os.ReadFile(path)
	if err != nil {
		s.Fatalf("%s: %v: %v", fault, err, r)
	}
	var seen report
	if err := json.Unmarshal(data, &seen); err != nil {
		s.Fatal(err)
	}
	return r, seen
}

// Outcomes of a fault.
const (
	whole   = "whole"   // the agent ran, with everything that holds it, to its end
	less    = "less"    // so it ran, but for what testdata/less.txt lets differ
	ended   = "ended"   // so it ran, and the session was ended
	refused = "refused" // it never ran; two lines say why and what to do
	aborted = "aborted" // it never ran; the Go runtime ended one of our processes
	died    = "died"    // it never ran, and we did not live to say so
)

// judge tells what became of a session, and complains of everything that is
// none of the above.
func (s *stage) judge(r rig.Result, seen report, lets *regexp.Regexp) (outcome string) {
	s.Helper()
	if seen.Executed {
		return s.judgeAgent(r, seen, lets)
	}
	switch lines := strings.Split(strings.TrimSuffix(r.Stderr, "\n"), "\n"); {
	case r.Stdout != "" || r.Exit == 0:
		s.Errorf("no agent executed, and: %v", r)
	case r.Exit > 128:
		return died
	case strings.Contains(r.Stderr, "\ngoroutine ") || strings.Contains(r.Stderr, "runtime: "):
		return aborted
	case r.Exit < 125 || r.Exit > 126:
		s.Errorf("exit status: %v", r)
	case len(lines) < 2 || !strings.HasPrefix(lines[len(lines)-2], "phantom-ns: ") || !strings.HasPrefix(lines[len(lines)-1], "phantom-ns: "):
		s.Errorf("no line that says why and one that says what to do: %v", r)
	}
	return refused
}

func (s *stage) judgeAgent(r rig.Result, seen report, lets *regexp.Regexp) (outcome string) {
	s.Helper()
	outcome = ended
	if r.Exit == 0 && r.Stdout == said {
		outcome = whole
	} else if r.Exit == 0 || strings.Contains(r.Stdout, "out") {
		s.Errorf("the agent executed and: %v", r)
	}
	changed := changes(s.reference.Posture, seen.Posture)
	if outcome == ended && slices.Contains(seen.Posture, "proxy is gone") {
		// The agent is held without it, and on its way to its end. One that did
		// nothing was killed as it was looked at: what is taken down by then is
		// taken down behind it.
		changed = slices.DeleteFunc(changed, func(line string) bool {
			return strings.HasPrefix(line[1:], "proxy ") || r.Stdout == "" && line[0] == '-'
		})
	}
	if len(changed) > 0 && outcome == whole {
		outcome = less
	}
	for _, line := range changed {
		if lets == nil || !lets.MatchString(line) {
			s.Errorf("the agent executed half-protected: %s\n%v", line, r)
		}
	}
	return outcome
}

// changes lists what is in one of them only, with - before it where that is
// want.
func changes(want, got []string) (all []string) {
	for _, side := range []struct {
		sign     string
		has, not []string
	}{{"-", want, got}, {"+", got, want}} {
		for _, line := range side.has {
			if !slices.Contains(side.not, line) {
				all = append(all, side.sign+line)
			}
		}
	}
	return all
}

// readTable reads a file of testdata, whose lines have that many columns; the
// last may hold spaces.
func readTable(t *testing.T, name string, columns int) [][]string {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all [][]string
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		line := scanner.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		var row []string
		for range columns - 1 {
			field, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
			row, line = append(row, field), rest
		}
		if row = append(row, strings.TrimSpace(line)); slices.Contains(row, "") {
			t.Fatalf("%s: line %q has not %d columns", name, scanner.Text(), columns)
		}
		all = append(all, row)
	}
	return all
}
