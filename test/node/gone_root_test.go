// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// inhabit puts a process into the namespace, which stays there, and goes on by
// its path.
func (p *pod) inhabit() {
	p.Helper()
	in, hold := io.Pipe()
	out, printed := io.Pipe()
	process := p.world.Program(rig.Session{Root: true, Dir: "/", Stdin: in, Stdout: printed}, "nsenter", "--net="+p.Namespace, "--",
		"sh", "-c", "echo $$; read end")
	p.Cleanup(func() { hold.Close(); process.Wait() })
	pid, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Fatal(err)
	}
	p.Namespace = fmt.Sprintf("/proc/%s/ns/net", strings.TrimSpace(pid))
}

// O5, S3: what was known of a namespace is lost while a process still lives in
// it: its path, or the daemon's own file, as after a death in the middle of an
// attachment. Whoever drops such a session takes its link away first.
func TestO5APathThatIsGoneIsNoWayOut(t *testing.T) {
	for name, lose := range map[string]func(*pod) error{
		"path": func(p *pod) error { p.remove(); return nil },
		"file": func(p *pod) error { return os.Remove(p.file()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			out := b.newStranger()
			p := b.newPod("web")
			p.plug("10.99.0.2")
			p.attach()
			p.swaps()
			b.node.Kill()
			lost := &pod{bed: p.bed, Attachment: p.Attachment}
			p.inhabit()
			if err := lose(lost); err != nil {
				t.Fatal(err)
			}
			b.node.Start()
			b.isEmpty()
			p.sendEverything()
			out.heardNothing("taken over")
		})
	}
}

// A link that has the number of a dead container's is another's: it stays up.
func TestANumberOfBeforeIsAnothers(t *testing.T) {
	b := newBed(t)
	b.newStranger()
	p := b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	number := p.hostLink()
	b.node.Kill()
	other := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other0", Index: number, Flags: net.FlagUp}, PeerName: "other1"}
	err := b.world.Do(func() error {
		if err := p.unplug(); err != nil {
			return err
		}
		return netlink.LinkAdd(other)
	})
	if err != nil {
		t.Fatal(err)
	}
	p.remove()
	b.node.Start()
	b.isEmpty()
	err = b.world.Do(func() error {
		link, err := netlink.LinkByIndex(number)
		if err == nil && (link.Attrs().Name != other.Name || link.Attrs().Flags&net.FlagUp == 0) {
			t.Errorf("link %d is %+v", number, link.Attrs())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// file is where the daemon keeps what it knows of the attachment.
func (p *pod) file() string {
	return filepath.Join(p.node.Dir, "run/attachments", p.Container+"@"+p.Interface+".json")
}

// newUnfenced makes a pod with an accepted link that has no end on the host, and
// attaches it.
func (b *bed) newUnfenced() *pod {
	b.Helper()
	b.newStranger() // and the bridge
	p := b.newPod("web")
	p.plugMacvlan("10.99.0.3")
	p.Unfenced = true
	p.attach()
	return p
}

// K6: an accepted link without an end on the host is stopped inside. While
// nobody can look there the attachment stays, and its container held.
func TestK6AnUnfencedLinkIsNotLetGoUnseen(t *testing.T) {
	b := newBed(t)
	p := b.newUnfenced()
	b.node.Kill()
	b.hide()
	b.node.Start()
	if err := b.client.Detach(t.Context(), p.Container, p.Interface); err == nil {
		t.Error("it is detached, though nobody could look inside")
	}
	b.show()
	p.session()
	p.detach()
	p.isDown()
	b.isEmpty()
}

// What is over and cannot be forgotten is forgotten by the next who asks.
func TestAFileThatStaysIsRemovedLater(t *testing.T) {
	b := newBed(t)
	p := b.newUnfenced()
	if err := errors.Join(os.Remove(p.file()), os.MkdirAll(filepath.Join(p.file(), "full"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Detach(t.Context(), p.Container, p.Interface); err == nil {
		t.Error("it is detached, and its file stays")
	}
	p.isDown()
	if err := os.Remove(filepath.Join(p.file(), "full")); err != nil {
		t.Fatal(err)
	}
	p.detach()
	b.isEmpty()
}

// hide keeps the daemon from looking at namespaces: where others may write they
// could have mounted anything.
func (b *bed) hide() { b.setMode(0o777) }

func (b *bed) show() { b.setMode(0o700) }

func (b *bed) setMode(mode os.FileMode) {
	b.Helper()
	if err := os.Chmod(b.scratch, mode); err != nil {
		b.Fatal(err)
	}
}

// O5: that a namespace cannot be looked at is no proof that it is gone. It
// stays refused, the node says so, and it is served again when it can be.
func TestO5WhatCannotBeFoundIsHeld(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	sealed, plugged := b.newPod("web"), b.newPod("other")
	plugged.plug("10.99.0.2")
	pods := []*pod{sealed, plugged}
	for _, p := range pods {
		p.attach()
	}
	b.node.Kill()
	b.hide()
	b.node.Start()
	status, err := b.client.Status(t.Context())
	if err != nil || len(status.Problems) != 2 || status.Sessions != 2 {
		t.Errorf("status %+v, %v", status, err)
	}
	for i, p := range pods {
		if !strings.Contains(strings.Join(status.Problems, "\n"), fmt.Sprintf("container %s is refused everything: ", p.Container)) {
			t.Errorf("%s is not told of: %q", p.Container, status.Problems)
		}
		if r := p.ask(p.Policy).Wait(); r.Exit == 0 {
			t.Errorf("%s is answered: %v", p.Container, r)
		}
		if err := b.client.Check(t.Context(), p.Attachment); err == nil {
			t.Errorf("check of %s says that it is whole", p.Container)
		}
		second := p.Attachment
		second.Interface = fmt.Sprint("more", i)
		if _, err := b.client.Attach(t.Context(), second); err == nil {
			t.Errorf("%s was given another interface", p.Container)
		}
	}
	plugged.sendEverything()
	out.heardNothing("not found")
	b.show()
	if _, err := b.client.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	for _, p := range pods {
		p.swaps()
		p.stands()
	}
	if status, err := b.client.Status(t.Context()); err != nil || len(status.Problems) != 0 {
		t.Errorf("status %+v, %v", status, err)
	}
	// Those that are still not found can be detached, too.
	b.node.Kill()
	b.hide()
	b.node.Start()
	for _, p := range pods {
		p.detach()
	}
	b.isEmpty()
	plugged.sendEverything()
	out.heardNothing("after it was detached")
	if err := b.client.Check(t.Context(), sealed.Attachment); api.Code(err) != api.CodeNotFound {
		t.Errorf("check of what was detached: %v", err)
	}
}
