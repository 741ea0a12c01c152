// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// attachments lists what the daemon holds.
func (n *node) attachments(t testing.TB) []api.Attachment {
	t.Helper()
	client := n.daemon.Client()
	defer client.Close()
	all, err := client.List(context.Background())
	if err != nil {
		t.Fatalf("list attachments: %v", err)
	}
	return all
}

// attachment is what the daemon holds of a container.
func (c *container) attachment(t testing.TB) api.Attachment {
	t.Helper()
	for _, a := range c.n.attachments(t) {
		if a.Container == c.ContainerID && a.Interface == c.IfName {
			return a
		}
	}
	t.Fatalf("the daemon holds nothing of %s", c.ContainerID)
	return api.Attachment{}
}

// K2: DEL succeeds with the daemon gone, the namespace gone, both, twice, and
// for what was never added; a daemon that comes back holds nothing of it.
func TestK2DELAfterACrash(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	never, crashed, removed := n.newContainer(t), n.newContainer(t), n.newContainer(t)
	for _, c := range []*container{crashed, removed} {
		if _, err := c.add(l); err != nil {
			t.Fatal(err)
		}
	}
	removed.remove(t)
	n.daemon.Kill()
	for name, c := range map[string]*container{"never added": never, "daemon killed": crashed, "namespace gone": removed} {
		for _, again := range []string{"", " again"} {
			if err := c.del(l); err != nil {
				t.Errorf("DEL, %s%s: %v", name, again, err)
			}
		}
	}
	crashed.remove(t)
	n.daemon.Start()
	if left := n.attachments(t); len(left) > 0 {
		t.Errorf("held after the restart: %+v", left)
	}
	for name, c := range map[string]*container{"never added": never, "daemon killed": crashed, "namespace gone": removed} {
		if err := c.del(l); err != nil {
			t.Errorf("DEL, %s, with the daemon back: %v", name, err)
		}
	}
}

// K2: a reboot takes namespaces, /run and the kernel's memory; what a runtime
// then deletes is gone already, and the same container begins anew.
func TestK2DELAfterAReboot(t *testing.T) {
	n := newNode(t)
	sealed := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	linked := n.list(t, "1.0.0", "linked", n.first("bridge", families["dual stack"]), n.ours(underWeb))
	of := map[*container]*libcni.NetworkConfigList{n.newContainer(t): sealed, n.newContainer(t): linked}
	for c, l := range of {
		if _, err := c.add(l); err != nil {
			t.Fatal(err)
		}
	}
	n.daemon.Kill()
	for c := range of {
		c.remove(t)
	}
	for _, dir := range []string{"run", "bpf/phantom-ns"} {
		n.empty(t, filepath.Join(n.daemon.Dir, dir))
	}
	n.daemon.Start()
	if held := n.attachments(t); len(held) > 0 {
		t.Errorf("held after the reboot: %+v", held)
	}
	for c, l := range of {
		if err := c.del(l); err != nil {
			t.Errorf("DEL: %v", err)
		}
		again := n.newContainer(t)
		again.ContainerID = c.ContainerID
		again.mustAdd(t, l)
		if got := again.swaps(t); got != "swapped" {
			t.Errorf("swap after the reboot: %s", got)
		}
	}
}

// empty removes what is in a folder of the world.
func (n *node) empty(t *testing.T, dir string) {
	t.Helper()
	err := n.Do(func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A crash of the daemon with the container alive: CHECK says so, the container
// is refused and not let out, and both end with the daemon's return.
func TestK2TheDaemonComesBack(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	c := n.newContainer(t)
	c.mustAdd(t, l)
	n.daemon.Kill()
	wantCode(t, "CHECK", c.check(l), 11)
	if _, exit := c.run(t, "curl", "-sS", "--max-time", "10", "https://"+host+"/"); exit == 0 {
		t.Error("answered without a daemon")
	}
	n.daemon.Start()
	if err := c.check(l); err != nil {
		t.Errorf("CHECK with the daemon back: %v", err)
	}
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("swap with the daemon back: %s", got)
	}
}

// K7: a hundred containers come and go at once, and nothing is left. An emulated
// machine, on which the plugins' deadline would end it, has a part of them.
func TestK7AHundredAtOnce(t *testing.T) {
	n := newNode(t)
	for name, plugins := range map[string][]string{
		"sealed":       {n.ours(underWeb)},
		"after bridge": {n.first("bridge", families["IPv4"]), n.ours(underWeb)},
	} {
		t.Run(name, func(t *testing.T) { n.hundred(t, n.list(t, "1.0.0", "hundred", plugins...)) })
	}
}

func (n *node) hundred(t *testing.T, l *libcni.NetworkConfigList) {
	warm := n.newContainer(t)
	warm.mustAdd(t, l)
	before := rig.Snapshot(t)
	all := make([]*container, 100/rig.Pace())
	for i := range all {
		all[i] = n.newContainer(t)
	}
	each(t, all, "ADD", func(c *container) error { _, err := c.add(l); return err })
	if held := len(n.attachments(t)); held != len(all)+1 {
		t.Errorf("%d attachments, want %d", held, len(all)+1)
	}
	for _, c := range []*container{all[0], all[len(all)-1]} {
		if got := c.swaps(t); got != "swapped" {
			t.Errorf("swap: %s", got)
		}
	}
	each(t, all, "CHECK", func(c *container) error { return c.check(l) })
	each(t, all, "DEL", func(c *container) error { return c.del(l) })
	for _, c := range all {
		c.remove(t)
	}
	if held := n.attachments(t); len(held) != 1 {
		t.Errorf("%d attachments, want 1", len(held))
	}
	if left := rig.Leftovers(t, before); left != nil {
		t.Errorf("left: %v", left)
	}
}

// each does f to every container at once.
func each(t *testing.T, all []*container, what string, f func(*container) error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if err := f(c); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	wg.Wait()
}

// ADD and DEL of one container at once, which no runtime should do, leave it
// added or not, and the next pair works.
func TestK7ADDAndDELOfOneContainerAtOnce(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	c := n.newContainer(t)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { c.add(l) })
		wg.Go(func() {
			if err := c.del(l); err != nil {
				t.Errorf("DEL: %v", err)
			}
		})
	}
	wg.Wait()
	if err := c.del(l); err != nil {
		t.Errorf("DEL: %v", err)
	}
	c.mustAdd(t, l)
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("swap: %s", got)
	}
}

// K7: GC ends what its network's list does not name, and nothing of another
// network.
func TestK7GC(t *testing.T) {
	n := newNode(t)
	mine := n.list(t, "1.1.0", "mine", n.ours(underWeb))
	other := n.list(t, "1.1.0", "other", n.ours(underWeb))
	kept, lost, foreign := n.newContainer(t), n.newContainer(t), n.newContainer(t)
	kept.mustAdd(t, mine)
	foreign.mustAdd(t, other)
	if _, err := lost.add(mine); err != nil {
		t.Fatal(err)
	}
	// A runtime that lost its cache knows only what is valid.
	forgetful := libcni.NewCNIConfigWithCacheDir(n.cni.Path, scratch(t), inWorld{n.World})
	valid := []types.GCAttachment{{ContainerID: kept.ContainerID, IfName: kept.IfName}}
	if err := forgetful.GCNetworkList(context.Background(), mine, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
		t.Fatalf("GC: %v", err)
	}
	held := map[string]bool{}
	for _, a := range n.attachments(t) {
		held[a.Container] = true
	}
	if want := map[string]bool{kept.ContainerID: true, foreign.ContainerID: true}; fmt.Sprint(held) != fmt.Sprint(want) {
		t.Errorf("held %v, want %v", held, want)
	}
	if got := kept.swaps(t); got != "swapped" {
		t.Errorf("swap: %s", got)
	}
}

// STATUS says whether ADD would work.
func TestSTATUS(t *testing.T) {
	n := newNode(t)
	status := func(more string) error {
		return n.cni.GetStatusNetworkList(context.Background(), n.list(t, "1.1.0", "sealed", n.ours(more)))
	}
	if err := status(underWeb); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	wantCode(t, "STATUS of a policy that is none", status(`,"policy":"gone"`), 50)
	n.daemon.Stop()
	wantCode(t, "STATUS without a daemon", status(underWeb), 51)
}
