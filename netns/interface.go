// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNameTaken is what Seal and AddName answer when something in the
// namespace is called so.
var ErrNameTaken = errors.New("the interface exists")

// HardwareAddr is that of a sealed container's interface: locally administered,
// the same everywhere, so that who reads a result knows the interface by it.
var HardwareAddr = net.HardwareAddr{0x02, 'p', 'h', 'a', 'n', 't'}

// farEnd is the other end of a sealed container's interface, in the same
// namespace: by it Seal knows what it has made.
const farEnd = "phantom-end"

// sealedInterface returns the container's interface, up: the one that Seal
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
	err := handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: HardwareAddr}, PeerName: farEnd})
	if errors.Is(err, unix.EEXIST) {
		return ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("add interface %q: %w", name, err)
	}
	for _, end := range []string{name, farEnd} {
		if err := raiseEnd(handle, end); err != nil {
			return fmt.Errorf("set interface %q up: %w", end, err)
		}
	}
	return nil
}

// endSwitches make an end of a pair say nothing by itself, and let it have the
// address of IPv6 that it is given.
var endSwitches = map[string]string{"addr_gen_mode": "1", "disable_ipv6": "0"}

func raiseEnd(handle *netlink.Handle, name string) error {
	for file, value := range endSwitches {
		err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, file), []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 at all
			return err
		}
	}
	link, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	return handle.LinkSetUp(link)
}

// findInterface returns the container's end of a pair that Seal made, or nil.
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

// isSealed recognises both ends of a pair that Seal made.
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

// AddName gives the interface of Seal a further name, for a runtime that
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

// RemoveInterface takes away what Seal made but the routes: the namespace
// stays sealed. Nothing to take away is all right.
func (n *Namespace) RemoveInterface() error {
	err := n.onInterface(func(handle *netlink.Handle, link netlink.Link) error { return handle.LinkDel(link) })
	if err != nil && !errors.Is(err, errNoInterface) {
		return fmt.Errorf("remove interface: %w", err)
	}
	return nil
}

// HasName tells whether the interface of Seal has a name.
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

// errNoInterface is a namespace that has none of Seal's.
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
