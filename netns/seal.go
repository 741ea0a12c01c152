// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// ErrNotEmpty is what Seal answers for a namespace that has more than lo.
var ErrNotEmpty = errors.New("the namespace is not empty")

// loopback is the index of lo, in every namespace and whatever it is called
// (LOOPBACK_IFINDEX of include/net/flow.h).
const loopback = 1

// Seal makes a namespace that another program made what New makes: every route
// is lo's, and every connection stays inside. A namespace with other links or
// addresses is refused with ErrNotEmpty. Seal of a sealed namespace changes
// nothing.
//
// Its runtime looks for an interface of that name: the own addresses are that
// one's and not lo's. It is a pair with both ends inside, so it leads nowhere.
// The plugin loopback, which containerd runs at the same time for every pod,
// refuses a lo with more addresses than a kernel gives it. A dummy would do for
// a pair, but not every kernel has those.
func (n *Namespace) Seal(name string) error {
	err := n.routed(func(handle *netlink.Handle) error {
		if err := checkEmpty(handle); err != nil {
			return err
		}
		link, err := sealedInterface(handle, name)
		if err != nil {
			return err
		}
		ipv6, err := sealOn(handle, link)
		n.ipv6.Store(ipv6)
		return err
	})
	if err != nil {
		return fmt.Errorf("seal network namespace: %w", err)
	}
	return nil
}

// checkEmpty accepts lo with addresses that the kernel gave it, and what
// SealAs made.
func checkEmpty(handle *netlink.Handle) error {
	links, err := handle.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		if isSealed(link, links) {
			continue
		}
		if link.Attrs().Index != loopback && !isFallback(link) {
			return fmt.Errorf("%w: link %q", ErrNotEmpty, link.Attrs().Name)
		}
		has, err := addresses(handle, link)
		if err != nil {
			return err
		}
		for _, p := range has {
			if !slices.Contains(ordinary, p) {
				return fmt.Errorf("%w: address %s", ErrNotEmpty, p)
			}
		}
	}
	return nil
}

var ordinary = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.1/8"),
	netip.MustParsePrefix("::1/128"),
}
