// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a filter of ours is recognised by. Filters are asked in the order of
// their priorities, and one that accepts ends it: ours is the first.
const (
	clsactName     = "phantom-ns"
	clsactPriority = 1
	clsactHandle   = 0x9805 // among filters of one priority
)

var directions = [...]uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS}

// ErrFilterGone is what CheckClsact answers when a filter is not there.
var ErrFilterGone = errors.New("the filter is gone")

// ErrFilterTaken is what AttachClsact answers when another program's filter is
// asked before ours would be.
var ErrFilterTaken = errors.New("another program filters this link first")

// AttachClsact attaches programs to a link of the caller's namespace, in the
// place of those that were attached before: ingress judges what the link
// receives, egress what it sends. -1 leaves that direction as it is. It is for
// kernels before 6.6, which have no tcx. After an error, what is attached stays.
//
// The link's clsact qdisc is made where there is none, and stays: it costs
// nothing when it is empty, and nobody could tell whose it is.
func AttachClsact(ifindex, ingress, egress int) error {
	err := onLink(ifindex, func(handle *netlink.Handle, link netlink.Link) error {
		if err := addClsact(handle, link); err != nil {
			return err
		}
		for i, fd := range [...]int{ingress, egress} {
			if fd < 0 {
				continue
			}
			if err := attachFilter(handle, link, directions[i], fd); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("attach filters: %w", err)
	}
	return nil
}

// DetachClsact removes what AttachClsact attached; nothing of others'. The link
// may be gone, and there may be nothing.
func DetachClsact(ifindex int) error {
	err := onLink(ifindex, func(handle *netlink.Handle, link netlink.Link) error {
		var errs []error
		for _, parent := range directions {
			filters, err := listFilters(handle, link, parent)
			errs = append(errs, err)
			for _, f := range filters {
				if isOurs(f) {
					errs = append(errs, handle.FilterDel(f))
				}
			}
		}
		return errors.Join(errs...)
	})
	if err != nil && !isGone(err) {
		return fmt.Errorf("detach filters: %w", err)
	}
	return nil
}

// CheckClsact tells whether both of a link's filters are there and are asked
// first: ErrFilterGone, ErrFilterTaken.
func CheckClsact(ifindex int) error {
	err := onLink(ifindex, func(handle *netlink.Handle, link netlink.Link) error {
		for _, parent := range directions {
			if err := checkFilter(handle, link, parent); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check filters: %w", err)
	}
	return nil
}

// HasLink tells whether the caller's namespace has a link of that index.
func HasLink(ifindex int) (bool, error) {
	err := onLink(ifindex, func(*netlink.Handle, netlink.Link) error { return nil })
	if isGone(err) {
		return false, nil
	}
	return err == nil, err
}

// SetDown stops a link of the caller's namespace. It may be gone.
func SetDown(ifindex int) error {
	err := onLink(ifindex, (*netlink.Handle).LinkSetDown)
	if err != nil && !isGone(err) {
		return fmt.Errorf("set down: %w", err)
	}
	return nil
}

// onLink calls f with a link of the calling thread's namespace.
func onLink(ifindex int, f func(*netlink.Handle, netlink.Link) error) error {
	return routed(func(handle *netlink.Handle) error {
		link, err := handle.LinkByIndex(ifindex)
		if err != nil {
			return fmt.Errorf("find link %d: %w", ifindex, err)
		}
		if err := f(handle, link); err != nil {
			return fmt.Errorf("link %q: %w", link.Attrs().Name, err)
		}
		return nil
	})
}

func isGone(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

func addClsact(handle *netlink.Handle, link netlink.Link) error {
	err := handle.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if errors.Is(err, unix.EEXIST) {
		return nil // when it is of kind ingress, it has no egress, and the filter is refused
	}
	if err != nil {
		return fmt.Errorf("add clsact: %w", err)
	}
	return nil
}

func attachFilter(handle *netlink.Handle, link netlink.Link, parent uint32, fd int) error {
	err := handle.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index, Parent: parent, Handle: clsactHandle,
			Priority: clsactPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: clsactName, DirectAction: true,
	})
	if err != nil {
		return err
	}
	return checkFilter(handle, link, parent)
}

func checkFilter(handle *netlink.Handle, link netlink.Link, parent uint32) error {
	filters, err := listFilters(handle, link, parent)
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(filters, isOurs):
		return ErrFilterGone
	case !isOurs(filters[0]):
		return ErrFilterTaken
	}
	return nil
}

func listFilters(handle *netlink.Handle, link netlink.Link, parent uint32) ([]netlink.Filter, error) {
	filters, err := handle.FilterList(link, parent)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, nil // no such qdisc
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	return filters, nil
}

func isOurs(f netlink.Filter) bool {
	bpf, ok := f.(*netlink.BpfFilter)
	return ok && bpf.Name == clsactName && bpf.Priority == clsactPriority && bpf.Handle == clsactHandle
}
