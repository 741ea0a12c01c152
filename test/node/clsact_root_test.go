// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// K6: where the kernel has no tcx (before 6.6), the links' ends are guarded by
// clsact filters, which hold as well: against root inside, without the daemon,
// and when nothing is known of the container any more.
func TestK6WithoutTCX(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	old := filepath.Join(b.scratch, "oldkernel")
	if err := rig.GoBuild(old, "./test/node/oldkernel"); err != nil {
		t.Fatal(err)
	}
	m := b.manage(old)
	p := b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	var pins []os.DirEntry
	err := b.world.Do(func() (err error) {
		pins, err = os.ReadDir(filepath.Join(b.node.Dir, "bpf/phantom-ns/guards"))
		return err
	})
	if err != nil || len(pins) != 0 {
		t.Fatalf("guarded by tcx: %v, %v", pins, err)
	}
	p.stands()
	p.swaps()
	p.answers(out)
	p.unfence()
	silent := func(when string) {
		t.Helper()
		p.sendEverything()
		out.heardNothing(when)
	}
	silent("attached")
	m.end(syscall.SIGKILL)
	silent("without the daemon")
	m.start()
	p.stands()
	p.answers(out)
	link := p.hostLink()
	if err := b.world.Do(func() error { return netns.DetachClsact(link) }); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Check(t.Context(), p.Attachment); api.Code(err) != api.CodeBroken {
		t.Errorf("check without the filters: %v", err)
	}
	m.end(syscall.SIGTERM)
	m.start()
	p.stands()
	p.swaps()
	p.unfence()
	silent("after a restart")
	m.end(syscall.SIGKILL)
	if err := os.Remove(p.file()); err != nil {
		t.Fatal(err)
	}
	m.start()
	b.isEmpty()
	silent("forgotten")
	p.attach()
	p.swaps()
	p.detach()
	b.isEmpty()
	if err := b.world.Do(func() error { return netns.CheckClsact(link) }); !errors.Is(err, netns.ErrFilterGone) {
		t.Errorf("filters after it was detached: %v", err)
	}
	silent("detached")
	m.end(syscall.SIGTERM)
}

// hostLink is the index of the link's end on the bridge.
func (p *pod) hostLink() (index int) {
	p.Helper()
	err := p.world.Do(func() error {
		link, err := netlink.LinkByName(p.outer())
		if err == nil {
			index = link.Attrs().Index
		}
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	return index
}
