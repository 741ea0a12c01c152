// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// S2: two containers of one policy have one placeholder, and each its own
// session: what one asks is written down as its own.
func TestS2OnePolicyTwoSessions(t *testing.T) {
	b := newBed(t)
	first, second := b.newPod("web"), b.newPod("web")
	one, two := first.attach().Session, second.attach().Session
	first.swaps()
	second.swaps()
	second.swaps()
	b.node.Stop() // every record is written down
	asked := map[string]int{}
	for _, r := range b.world.Audit() {
		if r.Kind == audit.KindRequest {
			asked[r.Session]++
		}
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
