// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"errors"
	"net/netip"
	"strconv"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// inside calls f in the namespace at path, on the calling thread, which is a
// world's.
func inside(path string, f func() error) error {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(home)
	there, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return err
	}
	return errors.Join(f(), unix.Setns(home, unix.CLONE_NEWNET))
}

// wantCode fails unless err is an error of the protocol with that code.
func wantCode(t testing.TB, what string, err error, code uint) {
	t.Helper()
	if refused := new(types.Error); !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("%s: %v, want code %d", what, err, code)
	}
}

// withinNode recognises what stays between a node and its containers: only
// frames to strangers have left.
func withinNode(p rig.Packet) bool {
	for _, prefix := range []string{"10.0.0.0/8", "fd00::/8", "fe80::/10", "ff02::/16", "224.0.0.0/24"} {
		if netip.MustParsePrefix(prefix).Contains(p.Dst.Addr()) {
			return true
		}
	}
	return p.Ethertype == unix.ETH_P_ARP
}

func itoa(n int) string { return strconv.Itoa(n) }
