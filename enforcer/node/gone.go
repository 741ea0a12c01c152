// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/phantom-ns/phantom-ns/netns"
)

// errGone is the proof that what a session was made of is no more where it was.
var errGone = errors.New("the namespace is gone")

// reopen finds the namespace by the path of any of its attachments. It is gone
// (errGone) when none of them leads to it; what keeps us from looking, as too
// many open files do, is no proof, and another error.
func reopen(parts []saved) (*netns.Namespace, error) {
	var errs []error
	for _, what := range parts {
		ns, err := find(what)
		if err == nil {
			return ns, nil
		}
		if !errors.Is(err, errGone) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil, errGone
	}
	return nil, errors.Join(errs...)
}

// find opens the namespace that was attached. The path of one that is gone
// leads nowhere, to something else, or to another namespace.
func find(what saved) (*netns.Namespace, error) {
	ns, err := netns.Open(what.Attachment.Namespace)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) || errors.Is(err, netns.ErrHostNetwork) {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return nil, err
	}
	cookie, err := ns.Cookie()
	if err == nil && cookie != what.Cookie {
		err = errGone
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// isGone tells whether the path leads to the namespace no more.
func isGone(what saved) bool {
	ns, err := find(what)
	if err == nil {
		ns.Close()
	}
	return errors.Is(err, errGone)
}

// dropGone removes what is left of a session whose namespace is gone, or at least
// its path.
func (d *Daemon) dropGone(parts []saved) {
	cookie := parts[0].Cookie
	d.tell(d.manager.Forget(storeName(cookie)))
	if err := d.release(cookie, parts); err != nil {
		err = fmt.Errorf("container %s is gone, and what holds it stays: %w", parts[0].Attachment.Container, err)
		d.log.Error("remove what is left of a session", "error", err)
		d.problems.add(err.Error())
		return
	}
	for _, what := range parts {
		if err := d.config.unsave(what.Attachment.Key()); err != nil {
			d.log.Warn("remove what is left of a session", "error", err)
		}
		d.log.Info("gone while the daemon was away", "container", what.Attachment.Container, "session", what.Session)
	}
}

// hostLinks lists the host's ends of a session's links.
func hostLinks(parts []saved) (all []hostLink) {
	for _, what := range parts {
		all = append(all, what.HostLinks...)
	}
	slices.SortFunc(all, func(a, b hostLink) int { return cmp.Compare(a.Index, b.Index) })
	return slices.CompactFunc(all, func(a, b hostLink) bool { return a.Index == b.Index })
}

// removeStrays takes entries out of the kernel that no attachment has: what
// was being made when the daemon died was never answered. One that cannot be
// taken out is refused everything as before, and keeps no other from being served.
func (d *Daemon) removeStrays(known map[uint64][]saved) error {
	cookies, err := d.programs.Sessions()
	if err != nil {
		return err
	}
	for _, cookie := range cookies {
		if _, ok := known[cookie]; ok {
			continue
		}
		if err := d.release(cookie, nil); err != nil {
			d.log.Error("remove a session that was half made", "error", err)
			d.problems.add(err.Error())
		}
	}
	return nil
}

// release takes what holds a namespace out of the kernel, the host's ends of its
// links first, also of those that are guarded and in no file: what may still
// live inside gets no moment with one.
func (d *Daemon) release(cookie uint64, parts []saved) error {
	links, err := d.programs.Guarded(cookie)
	if err != nil {
		return err
	}
	for _, link := range hostLinks(parts) {
		// The number may be another link's by now, as of one that a plugin made
		// inside and moved out. Its own is pinned or, before 6.6, has our filter.
		if err := netns.CheckClsact(link.Index); !errors.Is(err, netns.ErrFilterGone) {
			links = append(links, link.Index)
		}
	}
	if err := setDown(links); err != nil {
		return err
	}
	return errors.Join(d.programs.Unguard(cookie), d.programs.RemoveSession(cookie))
}
