// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// lo answers to the name that a runtime asked for, and the namespace stays
// empty.
func TestLoopbackHasASecondName(t *testing.T) {
	ns := opened(t, bare(t))
	must(t, ns.Seal())
	must(t, ns.NameLoopback("eth0"))
	if err := ns.NameLoopback("eth0"); !errors.Is(err, netns.ErrNameTaken) {
		t.Errorf("named again: %v", err)
	}
	if err := ns.NameLoopback("lo"); !errors.Is(err, netns.ErrNameTaken) {
		t.Errorf("named lo: %v", err)
	}
	must(t, ns.Seal())
	inside(t, ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		request, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil || request.Uint32() != 1 {
			t.Errorf("if_nametoindex(eth0) = %d, %v", request.Uint32(), err)
		}
		return nil
	})
	if named, err := ns.LoopbackNamed("eth0"); !named || err != nil {
		t.Errorf("named: %v, %v", named, err)
	}
	must(t, ns.UnnameLoopback("eth0"))
	must(t, ns.UnnameLoopback("eth0"))
	if named, err := ns.LoopbackNamed("eth0"); named || err != nil {
		t.Errorf("named still: %v, %v", named, err)
	}
}
