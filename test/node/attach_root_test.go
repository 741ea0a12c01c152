// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

func TestASealedContainerSwaps(t *testing.T) {
	b := newBed(t)
	p := b.newPod("web")
	made := p.attach()
	if made.Session == "" || len(made.Addresses) == 0 || made.Started.IsZero() {
		t.Errorf("answered %+v", made)
	}
	p.swaps()
	if err := b.client.Check(t.Context(), p.Attachment); err != nil {
		t.Errorf("check: %v", err)
	}
	if _, err := b.client.Attach(t.Context(), p.Attachment); api.Code(err) != api.CodeExists {
		t.Errorf("attached twice: %v", err)
	}
	listed, err := b.client.List(t.Context())
	if err != nil || len(listed) != 1 || listed[0].Session != made.Session {
		t.Errorf("listed %+v, %v", listed, err)
	}
	p.detach()
	p.detach()
	if err := b.client.Check(t.Context(), p.Attachment); api.Code(err) != api.CodeNotFound {
		t.Errorf("check of what was detached: %v", err)
	}
	b.isEmpty()
	// The same namespace again.
	p.attach()
	p.swaps()
}

// S1, S2: a connection is its namespace's, whatever placeholder it carries.
func TestS2IdentityIsTheNamespace(t *testing.T) {
	b := newBed(t)
	web, other := b.newPod("web"), b.newPod("other")
	web.attach()
	other.attach()
	web.swaps()
	other.swaps()
	if b.environment("web")["OPENAI_API_KEY"] == b.environment("other")["OPENAI_API_KEY"] {
		t.Fatal("two policies have one placeholder")
	}
	before := len(b.upstream.Exchanges(host))
	for p, policy := range map[*pod]string{web: "other", other: "web"} {
		if r := p.ask(policy).Wait(); r.Stdout != "403" {
			t.Errorf("the placeholder of %s in a container of %s: %v", policy, p.Policy, r)
		}
	}
	if n := len(b.upstream.Exchanges(host)); n != before {
		t.Errorf("%d requests reached the upstream", n-before)
	}
}

// S5: sessions of one policy share no connection to the upstream.
func TestS5ConnectionsToUpstreamsAreASessionsOwn(t *testing.T) {
	b := newBed(t)
	before := b.upstream.Connections()
	for range 2 {
		p := b.newPod("web")
		p.attach()
		p.swaps()
	}
	if n := b.upstream.Connections() - before; n != 2 {
		t.Errorf("%d connections for two sessions", n)
	}
}

func TestWhatCannotBeHeldIsRefused(t *testing.T) {
	b := newBed(t)
	broken := b.newPod("web")
	file := filepath.Join(b.scratch, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code  string
		spoil func(*api.Attachment)
	}{
		"no policy":          {api.CodeUnknownPolicy, func(a *api.Attachment) { a.Policy = "nobody" }},
		"daemon's network":   {api.CodeHostNetwork, func(a *api.Attachment) { a.Namespace = fmt.Sprintf("/proc/%d/ns/net", b.node.PID()) }},
		"no namespace":       {api.CodeNotNamespace, func(a *api.Attachment) { a.Namespace = file }},
		"nothing":            {api.CodeNotNamespace, func(a *api.Attachment) { a.Namespace += "-gone" }},
		"a pid namespace":    {api.CodeNotNamespace, func(a *api.Attachment) { a.Namespace = "/proc/self/ns/pid" }},
		"no interface":       {api.CodeInvalid, func(a *api.Attachment) { a.Sealed = false }},
		"a name of nobody's": {api.CodeInvalid, func(a *api.Attachment) { a.Container = "../x" }},
	} {
		t.Run(name, func(t *testing.T) {
			a := broken.Attachment
			c.spoil(&a)
			if _, err := b.client.Attach(t.Context(), a); api.Code(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
	b.isEmpty()
	broken.attach() // nothing of what was refused is in the way
	broken.swaps()
}

// K7: a hundred at a time, each with its own answer, and nothing left.
func TestK7AHundredAtATime(t *testing.T) {
	b := newBed(t)
	var pods []*pod
	for range 100 {
		pods = append(pods, b.newPod("web"))
	}
	sessions := sync.Map{}
	each := func(do func(*pod) error) {
		var wait sync.WaitGroup
		for _, p := range pods {
			wait.Go(func() {
				if err := do(p); err != nil {
					t.Errorf("%s: %v", p.Container, err)
				}
			})
		}
		wait.Wait()
	}
	each(func(p *pod) error {
		made, err := b.client.Attach(t.Context(), p.Attachment)
		if _, twice := sessions.LoadOrStore(made.Session, true); twice && err == nil {
			t.Errorf("two containers have session %s", made.Session)
		}
		return err
	})
	each(func(p *pod) error { return b.client.Check(t.Context(), p.Attachment) })
	pods[99].swaps()
	// CNI's GC names one of them, of this network.
	if err := b.client.Collect(t.Context(), "other", nil); err != nil {
		t.Error(err)
	}
	if err := b.client.Collect(t.Context(), "net", []api.Key{pods[99].Key()}); err != nil {
		t.Error(err)
	}
	if listed, err := b.client.List(t.Context()); err != nil || len(listed) != 1 {
		t.Errorf("%d are attached, %v", len(listed), err)
	}
	pods[99].swaps()
	each(func(p *pod) error { return b.client.Detach(t.Context(), p.Container, p.Interface) })
	b.isEmpty()
}

// isEmpty fails the test where the daemon has kept something of an attachment.
func (b *bed) isEmpty() {
	b.Helper()
	listed, err := b.client.List(b.Context())
	status, statusErr := b.client.Status(b.Context())
	if err != nil || statusErr != nil || len(listed) != 0 || status.Sessions != 0 {
		b.Errorf("listed %+v, status %+v, %v, %v", listed, status, err, statusErr)
	}
	for _, dir := range []string{"run/attachments", "bpf/phantom-ns/guards"} {
		entries, err := os.ReadDir(filepath.Join(b.node.Dir, dir))
		if dir == "bpf/phantom-ns/guards" {
			err = b.world.Do(func() (err error) { entries, err = os.ReadDir(filepath.Join(b.node.Dir, dir)); return err })
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if err != nil || len(names) != 0 {
			b.Errorf("%s holds %s, %v", dir, strings.Join(names, " "), err)
		}
	}
}

// A policy that is wrong says where, serves nobody new, and keeps no other from
// serving; what it was before goes on for those that have it.
func TestABrokenPolicyServesNobodyNew(t *testing.T) {
	b := newBed(t)
	old := b.newPod("web")
	old.attach()
	b.node.SetPolicy("web", "version: 1\negres: []\n")
	b.node.SetPolicy("fresh", b.policy("fresh"))
	policies, err := b.client.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, p := range policies {
		said[p.Name] = p.Error
	}
	if !strings.Contains(said["web"], "web.yaml:2:1") || said["other"] != "" || said["fresh"] != "" || said["none"] != "" || len(said) != 4 {
		t.Errorf("policies: %q", said)
	}
	old.swaps()
	if _, err := b.client.Attach(t.Context(), b.newPod("web").Attachment); api.Code(err) != api.CodeUnknownPolicy || !strings.Contains(err.Error(), "web.yaml:2:1") {
		t.Errorf("attached under a broken policy: %v", err)
	}
	fresh := b.newPod("fresh")
	fresh.attach()
	fresh.swaps()
	b.node.SetPolicy("web", "version: 1\n")
	if _, err := b.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := old.ask("fresh").Wait(); r.Exit == 0 {
		t.Errorf("the policy allows nothing any more: %v", r)
	}
}

// A container of the policy that every node has reaches nobody.
func TestNoneReachesNobody(t *testing.T) {
	b := newBed(t)
	p := b.newPod(api.None)
	p.attach()
	if r := p.ask("web").Wait(); r.Exit == 0 || r.Stdout == "200" {
		t.Errorf("%v", r)
	}
	if n := len(b.upstream.Exchanges(host)); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

// A session that was stopped is over for its container, which stays held.
func TestAStoppedSessionStaysStopped(t *testing.T) {
	b := newBed(t)
	p := b.newPod("web")
	made := p.attach()
	if err := b.client.Stop(t.Context(), made.Session[:8]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := p.ask("web").Wait(); r.Exit == 0 {
			t.Errorf("it reaches the upstream: %v", r)
		}
		if err := b.client.Check(t.Context(), p.Attachment); api.Code(err) != api.CodeBroken {
			t.Errorf("check: %v", err)
		}
		b.node.Stop()
		b.node.Start()
	}
	p.detach()
	b.isEmpty()
}
