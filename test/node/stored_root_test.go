// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// secret is `phantom-ns secret`, which tells the daemon of what it did.
func (b *bed) secret(stdin string, args ...string) {
	b.Helper()
	s := rig.Session{Root: true, Dir: "/", Stdin: strings.NewReader(stdin), Env: []string{"PHANTOM_NS_SOCKET=" + b.node.Socket()}}
	if r := b.world.Program(s, rig.Binary(b.T), append([]string{"secret"}, args...)...).Wait(); r.Exit != 0 {
		b.Fatalf("secret %v: %v", args, r)
	}
}

// C12, O4: what is stored is a running container's from the next request on,
// and what is removed is nobody's. A policy whose credential is not there yet
// serves when it is, without a reload.
func TestC12StoredWhileContainersRun(t *testing.T) {
	b := newBed(t)
	b.node.SetPolicy("late", "version: 1\ncredentials:\n  openai: {}\n"+b.upstream.Hosts())
	if _, err := b.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := b.newPod("late")
	if _, err := b.client.Attach(t.Context(), p.Attachment); api.Code(err) != api.CodeUnknownPolicy || !strings.Contains(err.Error(), "openai") {
		t.Errorf("attached without its credential: %v", err)
	}
	b.secret(b.key+"\n", "set", "openai")
	p.attach()
	p.swaps()
	before := b.environment("late")["OPENAI_API_KEY"]

	next := rig.Canary(t, "sk-")
	b.upstream.Serve(host, b.upstream.OpenAI(next))
	b.secret(next+"\n", "set", "openai")
	p.swaps()
	if b.environment("late")["OPENAI_API_KEY"] != before {
		t.Error("a new value changed the placeholder that containers hold")
	}

	b.secret("", "rm", "openai")
	sent := len(b.upstream.Exchanges(host))
	if r := p.ask("late").Wait(); r.Stdout == "200" || len(b.upstream.Exchanges(host)) != sent {
		t.Errorf("after it was removed: %v", r)
	}

	// A daemon that starts without it says so, and goes on when it is there.
	b.node.Stop()
	b.node.Start()
	status, err := b.client.Status(t.Context())
	if err != nil || len(status.Problems) != 1 || !strings.HasPrefix(status.Problems[0], "container "+p.Container+" is refused everything: ") {
		t.Errorf("status %+v, %v", status, err)
	}
	if r := p.ask("late").Wait(); r.Exit == 0 {
		t.Errorf("served without its credential: %v", r)
	}
	b.secret(next+"\n", "set", "openai")
	p.swaps()
	p.stands()
	if status, err := b.client.Status(t.Context()); err != nil || len(status.Problems) != 0 {
		t.Errorf("status %+v, %v", status, err)
	}
	p.detach()
	b.isEmpty()
}
