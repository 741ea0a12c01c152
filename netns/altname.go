// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNameTaken is what NameLoopback answers when something in the namespace is
// called so.
var ErrNameTaken = errors.New("the interface exists")

// NameLoopback gives lo of a sealed namespace a second name, by which a runtime
// finds the interface that it asked for: a link of its own would be one more
// thing to fence. Programs see it as they see any name (if_nametoindex, ip
// link). Kernels have such names since 5.5.
func (n *Namespace) NameLoopback(name string) error {
	err := n.loopbackDo(func(handle *netlink.Handle, lo netlink.Link) error {
		err := handle.LinkAddAltName(lo, name)
		if errors.Is(err, unix.EEXIST) {
			return ErrNameTaken
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("name lo %q: %w", name, err)
	}
	return nil
}

// UnnameLoopback takes a second name away. One that lo does not have is gone.
func (n *Namespace) UnnameLoopback(name string) error {
	err := n.loopbackDo(func(handle *netlink.Handle, lo netlink.Link) error {
		if !slices.Contains(lo.Attrs().AltNames, name) {
			return nil
		}
		return handle.LinkDelAltName(lo, name)
	})
	if err != nil {
		return fmt.Errorf("take name %q of lo: %w", name, err)
	}
	return nil
}

// LoopbackNamed tells whether lo has a second name.
func (n *Namespace) LoopbackNamed(name string) (named bool, err error) {
	err = n.loopbackDo(func(_ *netlink.Handle, lo netlink.Link) error {
		named = slices.Contains(lo.Attrs().AltNames, name)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("read names of lo: %w", err)
	}
	return named, nil
}

func (n *Namespace) loopbackDo(f func(*netlink.Handle, netlink.Link) error) error {
	return n.routed(func(handle *netlink.Handle) error {
		lo, err := handle.LinkByIndex(loopback)
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		return f(handle, lo)
	})
}
