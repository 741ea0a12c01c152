// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"maps"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// S2: two containers of one policy have one placeholder, and each its own
// session: what one asks is written down as its own, and whose that is.
func TestS2OnePolicyTwoSessions(t *testing.T) {
	b := newBed(t)
	first, second := b.newPod("web"), b.newPod("web")
	first.Pod = &api.Pod{Namespace: "team", Name: "agent"}
	one, two := first.attach().Session, second.attach().Session
	first.swaps()
	second.swaps()
	second.swaps()
	b.node.Stop() // every record is written down
	asked, whose := map[string]int{}, map[string]string{}
	for _, r := range b.world.Audit() {
		switch r.Kind {
		case audit.KindRequest:
			asked[r.Session]++
		case audit.KindSession:
			whose[string(r.Reason)+" "+r.Session] = r.Name
		}
	}
	if want := map[string]string{
		"session_start " + one: "team/agent", "session_end " + one: "team/agent",
		"session_start " + two: second.Container, "session_end " + two: second.Container,
	}; !maps.Equal(whose, want) {
		t.Errorf("sessions: %v, want %v", whose, want)
	}
	if len(asked) != 2 || asked[one] != 1 || asked[two] != 2 {
		t.Errorf("requests by session: %v, of %s and %s", asked, one, two)
	}
}

// S3: a namespace that is made anew at the path of one that went without a word
// is nobody's: not the session of before, and one of its own when it is
// attached.
func TestS3ANamespaceIsNotItsPath(t *testing.T) {
	b := newBed(t)
	old := b.newPod("web")
	before := old.attach().Session
	old.swaps()
	old.remove()
	again := b.newPod("other")
	again.move(old.Namespace)
	if err := b.client.Check(t.Context(), old.Attachment); api.Code(err) != api.CodeBroken {
		t.Errorf("check of the old one: %v", err)
	}
	if r := again.ask("web").Wait(); r.Exit == 0 || r.Stdout == "200" {
		t.Errorf("not attached, it is answered: %v", r)
	}
	if made := again.attach(); made.Session == before {
		t.Error("it has the session of the old one")
	}
	again.swaps()
	if r := again.ask("web").Wait(); r.Stdout != "403" {
		t.Errorf("the old one's placeholder: %v", r)
	}
	old.detach() // the runtime remembers at last
	again.swaps()
	again.stands()
	again.detach()
	b.isEmpty()
}
