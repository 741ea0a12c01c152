// SPDX-License-Identifier: Apache-2.0

//go:build root

package members

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// another is another member.
var another = &syscall.Credential{Uid: rig.UID + 1, Gid: rig.GID, Groups: []uint32{groupID}}

// command runs a command of somebody's without sudo, to its end.
func (n *node) command(who *syscall.Credential, stdin string, args ...string) rig.Result {
	n.t.Helper()
	return n.Program(rig.Session{As: who, Stdin: strings.NewReader(stdin)}, rig.Binary(n.t), args...).Wait()
}

// A member sees, enters and ends the sessions that they began, as root does any;
// those of others, and those of the same user that root began, are not there.
func TestMembersHaveTheirOwnSessions(t *testing.T) {
	before := rig.Snapshot(t)
	n := newNode(t)
	p := n.wait(rig.Session{}, waiting)
	own := n.running()[0]
	sudo := n.untilReady(rig.Session{Args: []string{"sh", "-c", waiting}}, n.Start)
	var roots string
	for _, id := range n.running() {
		if id != own {
			roots = id
		}
	}
	for who, want := range map[*syscall.Credential]string{member: own, another: ""} {
		var listed []struct{ ID, User, Command string }
		r := n.command(who, "", "ps", "--json")
		if err := json.Unmarshal([]byte(r.Stdout), &listed); err != nil {
			t.Fatalf("ps: %v: %v", err, r)
		}
		if want == "" && len(listed) != 0 || want != "" && (len(listed) != 1 || listed[0].ID != want || listed[0].User != rig.User || listed[0].Command != "sh") {
			t.Errorf("uid %d sees %+v", who.Uid, listed)
		}
	}
	if r := n.command(member, "", "ps"); !strings.Contains(r.Stdout, own) || strings.Contains(r.Stdout, roots) {
		t.Errorf("ps: %v", r)
	}
	for _, c := range []struct {
		who   *syscall.Credential
		args  []string
		stdin string
		exit  int
		out   string
	}{
		{member, []string{"exec", own[:6], "--", "sh", "-c", "cat; id -u; pwd; exit 42"}, "through\n", 42, "through\n60990\n" + rig.Work + "\n"},
		{member, []string{"exec", own, "no-such-command"}, "", 127, ""},
		{member, []string{"exec", roots, "id"}, "", 125, ""},
		{another, []string{"exec", own, "id"}, "", 125, ""},
		{stranger, []string{"exec", own, "id"}, "", 125, ""},
		{member, []string{"stop", own, roots}, "", 125, ""},
		{another, []string{"stop", own}, "", 125, ""},
		{stranger, []string{"stop", own}, "", 125, ""},
	} {
		r := n.command(c.who, c.stdin, c.args...)
		if r.Exit != c.exit || r.Stdout != c.out {
			t.Errorf("uid %d, %v: want %d and %q, got %v", c.who.Uid, c.args, c.exit, c.out, r)
		}
		if c.who == another && strings.Contains(r.Stderr, own[6:]) {
			if text := strings.ReplaceAll(r.Stderr, `"`+own+`"`, ""); strings.Contains(text, own[6:]) {
				t.Errorf("%v tells of sessions of others: %s", c.args, r.Stderr)
			}
		}
	}
	if ids := n.running(); len(ids) != 2 {
		t.Errorf("there are %q", ids)
	}
	entered := map[string]uint32{}
	for _, r := range n.Audit() {
		if r.Reason == audit.ReasonExec {
			entered[r.Session+" "+r.Comm] = r.UID
		}
	}
	if len(entered) != 2 || entered[own+" sh"] != rig.UID || entered[own+" no-such-command"] != rig.UID {
		t.Errorf("the log has %v", entered)
	}
	if r := n.command(member, "", "stop", own[:6]); r.Exit != 0 {
		t.Errorf("stop: %v", r)
	}
	if r := p.Wait(); r.Exit != 143 {
		t.Errorf("the stopped agent: %v", r)
	}
	if r := n.Command(nil, "stop", roots); r.Exit != 0 {
		t.Errorf("stop: %v", r)
	}
	sudo.Wait()
	n.end()
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
