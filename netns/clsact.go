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
	link, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("attach filters: find link %d: %w", ifindex, err)
	}
	if err := addClsact(link); err != nil {
		return fmt.Errorf("attach filters to %q: %w", link.Attrs().Name, err)
	}
	for i, fd := range [...]int{ingress, egress} {
		if fd < 0 {
			continue
		}
		if err := attachFilter(link, directions[i], fd); err != nil {
			return fmt.Errorf("attach filter to %q: %w", link.Attrs().Name, err)
		}
	}
	return nil
}

// DetachClsact removes what AttachClsact attached; nothing of others'. The link
// may be gone, and there may be nothing.
func DetachClsact(ifindex int) error {
	link, err := netlink.LinkByIndex(ifindex)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach filters: find link %d: %w", ifindex, err)
	}
	var errs []error
	for _, parent := range directions {
		filters, err := listFilters(link, parent)
		errs = append(errs, err)
		for _, f := range filters {
			if isOurs(f) {
				errs = append(errs, netlink.FilterDel(f))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach filters from %q: %w", link.Attrs().Name, err)
	}
	return nil
}

// CheckClsact tells whether both of a link's filters are there and are asked
// first: ErrFilterGone, ErrFilterTaken.
func CheckClsact(ifindex int) error {
	link, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("check filters: find link %d: %w", ifindex, err)
	}
	for _, parent := range directions {
		if err := checkFilter(link, parent); err != nil {
			return fmt.Errorf("check filters of %q: %w", link.Attrs().Name, err)
		}
	}
	return nil
}

// HasLink tells whether the caller's namespace has a link of that index.
func HasLink(ifindex int) (bool, error) {
	_, err := netlink.LinkByIndex(ifindex)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find link %d: %w", ifindex, err)
	}
	return true, nil
}

// SetDown stops a link of the caller's namespace. It may be gone.
func SetDown(ifindex int) error {
	link, err := netlink.LinkByIndex(ifindex)
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set link %d down: %w", ifindex, err)
	}
	return nil
}

func isGone(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

func addClsact(link netlink.Link) error {
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
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

func attachFilter(link netlink.Link, parent uint32, fd int) error {
	err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index, Parent: parent, Handle: clsactHandle,
			Priority: clsactPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: clsactName, DirectAction: true,
	})
	if err != nil {
		return err
	}
	return checkFilter(link, parent)
}

func checkFilter(link netlink.Link, parent uint32) error {
	filters, err := listFilters(link, parent)
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

func listFilters(link netlink.Link, parent uint32) ([]netlink.Filter, error) {
	filters, err := netlink.FilterList(link, parent)
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
