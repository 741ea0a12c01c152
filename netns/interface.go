// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNameTaken is what SealAs and AddName answer when something in the
// namespace is called so.
var ErrNameTaken = errors.New("the interface exists")

// farEnd is the other end of a sealed container's interface, in the same
// namespace: by it SealAs knows what it has made.
const farEnd = "phantom-end"

// SealAs is Seal for a container whose runtime looks for an interface of that
// name: the own addresses are that one's and not lo's. It is a pair with both
// ends inside, so it leads nowhere; every route is lo's, as in Seal.
//
// The plugin loopback, which containerd runs at the same time for every pod,
// refuses a lo with more addresses than a kernel gives it. A dummy would do for
// a pair, but not every kernel has those.
func (n *Namespace) SealAs(name string) error {
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

// sealedInterface returns the container's interface, up: the one that SealAs
// made before, which must be called so, or a new one.
func sealedInterface(handle *netlink.Handle, name string) (netlink.Link, error) {
	link, err := findInterface(handle)
	if err == nil && link == nil {
		if err := makePair(handle, name); err != nil {
			return nil, err
		}
		link, err = findInterface(handle)
	}
	switch {
	case err != nil:
		return nil, err
	case link == nil || !called(link, name):
		return nil, ErrNameTaken
	}
	return link, nil
}

func makePair(handle *netlink.Handle, name string) error {
	err := handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: farEnd})
	if errors.Is(err, unix.EEXIST) {
		return ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("add interface %q: %w", name, err)
	}
	for _, end := range []string{name, farEnd} {
		link, err := handle.LinkByName(end)
		if err != nil {
			return fmt.Errorf("find interface %q: %w", end, err)
		}
		if err := handle.LinkSetUp(link); err != nil {
			return fmt.Errorf("set interface %q up: %w", end, err)
		}
	}
	err = clearSwitch("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 at all
		return fmt.Errorf("enable IPv6: %w", err)
	}
	return nil
}

// findInterface returns the container's end of a pair that SealAs made, or nil.
func findInterface(handle *netlink.Handle) (netlink.Link, error) {
	links, err := handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		if isSealed(link, links) && link.Attrs().Name != farEnd {
			return link, nil
		}
	}
	return nil, nil
}

// isSealed recognises both ends of a pair that SealAs made.
func isSealed(link netlink.Link, all []netlink.Link) bool {
	// Within one namespace an end does not say in which the other one is.
	near := func(l netlink.Link) bool { return l.Type() == "veth" && l.Attrs().NetNsID < 0 }
	return near(link) && slices.ContainsFunc(all, func(other netlink.Link) bool {
		pair := near(other) && other.Attrs().Index == link.Attrs().ParentIndex && other.Attrs().ParentIndex == link.Attrs().Index
		return pair && (link.Attrs().Name == farEnd || other.Attrs().Name == farEnd)
	})
}

func called(link netlink.Link, name string) bool {
	return link.Attrs().Name == name || slices.Contains(link.Attrs().AltNames, name)
}

// AddName gives the interface of SealAs a further name, for a runtime that
// attaches a container twice. Kernels have such names since 5.5.
func (n *Namespace) AddName(name string) error {
	err := n.onInterface(func(handle *netlink.Handle, link netlink.Link) error {
		err := handle.LinkAddAltName(link, name)
		if errors.Is(err, unix.EEXIST) {
			return ErrNameTaken
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("name interface %q: %w", name, err)
	}
	return nil
}

// RemoveName takes a further name away. The first one, and a name that nothing
// has, change nothing: the interface goes with RemoveInterface.
func (n *Namespace) RemoveName(name string) error {
	err := n.onInterface(func(handle *netlink.Handle, link netlink.Link) error {
		if !slices.Contains(link.Attrs().AltNames, name) {
			return nil
		}
		return handle.LinkDelAltName(link, name)
	})
	if err != nil && !errors.Is(err, errNoInterface) {
		return fmt.Errorf("take name %q of interface: %w", name, err)
	}
	return nil
}

// RemoveInterface takes away what SealAs made but the routes: the namespace
// stays sealed. Nothing to take away is all right.
func (n *Namespace) RemoveInterface() error {
	err := n.onInterface(func(handle *netlink.Handle, link netlink.Link) error { return handle.LinkDel(link) })
	if err != nil && !errors.Is(err, errNoInterface) {
		return fmt.Errorf("remove interface: %w", err)
	}
	return nil
}

// HasName tells whether the interface of SealAs has a name.
func (n *Namespace) HasName(name string) (has bool, err error) {
	err = n.onInterface(func(_ *netlink.Handle, link netlink.Link) error {
		has = called(link, name)
		return nil
	})
	if err != nil && !errors.Is(err, errNoInterface) {
		return false, fmt.Errorf("read names of interface: %w", err)
	}
	return has, nil
}

// errNoInterface is a namespace that has none of SealAs's.
var errNoInterface = errors.New("there is no interface")

func (n *Namespace) onInterface(f func(*netlink.Handle, netlink.Link) error) error {
	return n.routed(func(handle *netlink.Handle) error {
		link, err := findInterface(handle)
		if err != nil {
			return err
		}
		if link == nil {
			return errNoInterface
		}
		return f(handle, link)
	})
}
