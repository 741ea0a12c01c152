// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
)

// O5: the daemon, or its proxy, is killed at random points of traffic. Nothing
// ever reaches the stranger; the next daemon takes both containers over.
func TestO5KilledAtAnyPoint(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	sealed, plugged := b.newPod("web"), b.newPod("other")
	plugged.plug("10.99.0.2")
	sealed.attach()
	plugged.attach()
	before := sealed.session()
	loops := []*traffic{sealed.startTraffic(), plugged.startTraffic()}
	for range 3 {
		for _, l := range loops {
			l.until("200 0")
			l.next(rand.IntN(6))
		}
		b.node.Kill()
		for _, l := range loops {
			l.next(2)
			for _, line := range l.next(3) { // begun when nobody was there
				if strings.HasPrefix(line, "200") {
					t.Errorf("%s was answered without a daemon: %s", l.Container, line)
				}
			}
		}
		b.node.Start()
	}
	for _, l := range loops {
		l.until("200 0")
		l.stands()
	}
	if after := sealed.session(); after.Session != before.Session || !after.Started.Equal(before.Started) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	for i := range 2 {
		status, err := b.client.Status(t.Context())
		if err != nil || status.Pool.PID == 0 || status.Pool.Restarts != i {
			t.Fatalf("status %+v, %v", status, err)
		}
		if err := syscall.Kill(status.Pool.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for status.Pool.Restarts == i || status.Pool.PID == 0 {
			loops[0].next(1)
			if status, err = b.client.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range loops {
			l.next(1) // begun before
			l.until("200 0")
			l.stands()
		}
	}
	for _, l := range loops {
		l.end()
	}
	out.heardNothing("killed")
	sealed.detach()
	plugged.detach()
	b.isEmpty()
}

// K2: what was there when the machine went down, or when the daemon was away
// while the runtime took a container away, is no trouble.
func TestK2GoneWhileTheDaemonWasAway(t *testing.T) {
	b := newBed(t)
	stays, goes, replaced := b.newPod("web"), b.newPod("web"), b.newPod("web")
	for _, p := range []*pod{stays, goes, replaced} {
		p.attach()
	}
	b.node.Kill()
	goes.remove()
	replaced.remove()
	again := b.newPod("web") // S3: another namespace at the same path
	again.move(replaced.Namespace)
	b.node.Start()
	listed, err := b.client.List(t.Context())
	if err != nil || len(listed) != 1 || listed[0].Container != stays.Container {
		t.Errorf("listed %+v, %v", listed, err)
	}
	stays.swaps()
	goes.detach()
	replaced.detach()
	stays.detach()
	b.isEmpty()
}

// Namespaces that go while the daemon runs are found by the runtime's GC,
// whatever it keeps.
func TestK7WhatLostItsNamespaceIsCollected(t *testing.T) {
	b := newBed(t)
	p := b.newPod("web")
	p.attach()
	p.remove()
	if err := b.client.Collect(t.Context(), "another", nil); err != nil {
		t.Error(err)
	}
	b.isEmpty()
}

// What holds containers goes when it is asked to and nobody is held.
func TestUninstallIsForAnEmptyNode(t *testing.T) {
	b := newBed(t)
	p := b.newPod("web")
	p.attach()
	uninstall := func() string { return b.node.Command("--uninstall").Stderr }
	if said := uninstall(); !strings.Contains(said, "another process holds") {
		t.Errorf("while it runs: %s", said)
	}
	b.node.Stop()
	if said := uninstall(); !strings.Contains(said, "containers are attached: "+p.Container) {
		t.Errorf("while a container is held: %s", said)
	}
	b.node.Start()
	p.swaps()
	p.detach()
	b.node.Stop()
	if said := uninstall(); said != "" {
		t.Errorf("at the end: %s", said)
	}
	b.node.Start()
}

// A link that a daemon guarded and wrote down nowhere, as one that died in the
// middle of an attachment, is down before the guards go.
func TestUninstallLeavesNoLinkUp(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	p := b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	b.node.Kill()
	if err := os.Remove(p.file()); err != nil {
		t.Fatal(err)
	}
	if r := b.node.Command("--uninstall"); r.Stderr != "" {
		t.Errorf("uninstall: %v", r)
	}
	p.sendEverything()
	out.heardNothing("uninstalled")
	b.node.Start()
}
