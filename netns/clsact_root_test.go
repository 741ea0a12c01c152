// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// What a filter returns (include/uapi/linux/pkt_cls.h): go on with the next one,
// accept, drop.
const (
	actUnspec int32 = -1
	actOK     int32 = 0
	actShot   int32 = 2
)

// verdict is a program that does the same to every packet.
func verdict(t *testing.T, does int32) int {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm32(asm.R0, does), asm.Return()},
	})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p.FD()
}

// filters are the names of those on the pod's link outside, as they are asked.
func filters(t *testing.T, p *pod, parent uint32) []string {
	t.Helper()
	var names []string
	inside(t, p.outside, func() error {
		link, err := netlink.LinkByName("host0")
		if err != nil {
			return err
		}
		list, err := netlink.FilterList(link, parent)
		for _, f := range list {
			names = append(names, f.(*netlink.BpfFilter).Name)
		}
		return err
	})
	return names
}

func theirs(t *testing.T, p *pod, priority uint16, handle uint32, does int32) {
	t.Helper()
	inside(t, p.outside, func() error {
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index("host0"), Parent: netlink.HANDLE_MIN_INGRESS, Handle: handle, Priority: priority, Protocol: unix.ETH_P_ALL,
			},
			Fd: verdict(t, does), Name: "theirs", DirectAction: true,
		})
	})
}

func TestClsact(t *testing.T) {
	p := newPod(t)
	socket := bound(t, p.outside)
	pass, drop := verdict(t, actUnspec), verdict(t, actShot)
	var link int
	attach := func(ingress, egress int) {
		t.Helper()
		inside(t, p.outside, func() error { return netns.AttachClsact(link, ingress, egress) })
	}
	inside(t, p.outside, func() error { link = index("host0"); return netns.DetachClsact(link) }) // nothing there
	attach(pass, pass)
	if sendOnly(t, p.Namespace); !received(t, socket) {
		t.Error("a filter that passes on dropped it")
	}
	theirs(t, p, 2, 1, actOK)
	attach(drop, pass) // in the place of the first
	inside(t, p.outside, func() error { return netns.CheckClsact(link) })
	if sendOnly(t, p.Namespace); received(t, socket) {
		t.Error("a filter that drops passed it on")
	}
	if got := filters(t, p, netlink.HANDLE_MIN_INGRESS); !slices.Equal(got, []string{"phantom-ns", "theirs"}) {
		t.Errorf("filters are %q", got)
	}
	for range 2 {
		inside(t, p.outside, func() error { return netns.DetachClsact(link) })
	}
	if got := filters(t, p, netlink.HANDLE_MIN_INGRESS); !slices.Equal(got, []string{"theirs"}) {
		t.Errorf("filters are %q", got)
	}
	if got := filters(t, p, netlink.HANDLE_MIN_EGRESS); len(got) > 0 {
		t.Errorf("filters are %q", got)
	}
	inside(t, p.outside, func() error {
		if err := netns.CheckClsact(link); !errors.Is(err, netns.ErrFilterGone) {
			t.Errorf("check: %v, want %v", err, netns.ErrFilterGone)
		}
		return errors.Join(netns.SetDown(link), netns.SetDown(1<<20), netns.DetachClsact(1<<20))
	})
}

// sendOnly sends a datagram and waits for nothing.
func sendOnly(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	inside(t, ns, func() error { return send(unix.AF_INET, unix.SOCK_DGRAM, 0, outside4) })
}

// bound is a socket for what the pod sends.
func bound(t *testing.T, ns *netns.Namespace) (fd int) {
	t.Helper()
	inside(t, ns, func() (err error) {
		if fd, err = socketOf(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err == nil {
			err = unix.Bind(fd, outside4)
		}
		return err
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// received takes a datagram off a socket. What was sent over a pair is there when
// the call that sent it returns.
func received(t *testing.T, fd int) bool {
	t.Helper()
	_, _, err := unix.Recvfrom(fd, make([]byte, 64), 0)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return err == nil
}

// A filter that is asked before ours could let anything pass: ours goes before
// those that are there, and one that comes later is seen.
func TestClsactIsFirst(t *testing.T) {
	p := newPod(t)
	socket := bound(t, p.outside)
	var link int
	inside(t, p.outside, func() error { link = index("host0"); return netns.AttachClsact(link, -1, -1) })
	theirs(t, p, 1, 1, actOK)
	inside(t, p.outside, func() error {
		return errors.Join(netns.AttachClsact(link, verdict(t, actShot), verdict(t, actUnspec)), netns.CheckClsact(link))
	})
	if sendOnly(t, p.Namespace); received(t, socket) {
		t.Error("their filter was asked first")
	}
	theirs(t, p, 1, 2, actOK)
	inside(t, p.outside, func() error {
		if err := netns.CheckClsact(link); !errors.Is(err, netns.ErrFilterTaken) {
			t.Errorf("check: %v, want %v", err, netns.ErrFilterTaken)
		}
		if err := netns.AttachClsact(link, verdict(t, actShot), -1); !errors.Is(err, netns.ErrFilterTaken) {
			t.Errorf("attach: %v, want %v", err, netns.ErrFilterTaken)
		}
		return nil
	})
	if got := filters(t, p, netlink.HANDLE_MIN_INGRESS); !slices.Equal(got, []string{"theirs", "phantom-ns", "theirs"}) {
		t.Errorf("filters are %q", got)
	}
}
