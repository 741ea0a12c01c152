// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// loadFence loads the programs of the guards, which share the redirect's sessions, flows and ledgers, and takes over the
// guards of before.
func (o *Object) loadFence(sessions uint32) error {
	spec, err := loadFence()
	if err != nil {
		return err
	}
	if err := spec.Variables[fenceVarShared].Set(true); err != nil {
		return fmt.Errorf("set shared: %w", err)
	}
	sizeMaps(spec, sessions)
	m := &o.objects.redirectMaps
	err = spec.LoadAndAssign(&o.fence, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		redirectMapSessions: m.Sessions,
		redirectMapPrefixes: m.Prefixes,
		redirectMapInbounds: m.Inbounds,
		redirectMapLedgers:  m.Ledgers,
		redirectMapDenials:  m.Denials,
	}})
	if err != nil {
		return fmt.Errorf("load fence: %w", err)
	}
	return o.recoverGuards()
}

// side is one of the two programs of a guarded device.
type side struct {
	name    string
	program *ebpf.Program
	attach  ebpf.AttachType
}

// sides come in the order of attachment: nothing leaves before what it would answer is noted.
func (o *Object) sides() []side {
	return []side{
		{"from", o.fence.FromPod, ebpf.AttachTCXIngress},
		{"to", o.fence.ToPod, ebpf.AttachTCXEgress},
	}
}

// guard is what the name of a pin says.
type guard struct {
	cookie  uint64
	ifindex uint32
	side    string
}

func (g guard) name() string { return fmt.Sprintf("%d-%d-%s", g.cookie, g.ifindex, g.side) }

func (n *node) guardPath(g guard) string { return filepath.Join(n.dir, guardsDir, g.name()) }

// guards lists the pins, of all sessions.
func (n *node) guards() ([]guard, error) {
	entries, err := os.ReadDir(filepath.Join(n.dir, guardsDir))
	if err != nil {
		return nil, err
	}
	var guards []guard
	for _, entry := range entries {
		var g guard
		if _, err := fmt.Sscanf(entry.Name(), "%d-%d-%s", &g.cookie, &g.ifindex, &g.side); err != nil || g.name() != entry.Name() {
			return nil, fmt.Errorf("pin %q is no guard's", entry.Name())
		}
		guards = append(guards, g)
	}
	return guards, nil
}

// Guard fences a pod from outside, where no capability inside the pod reaches: at the host's end of its link, which is a
// device of this process's network namespace (tcx, since 6.6; below, the error is [ErrNotSupported], and
// [Object.GuardPrograms] serves). Inbound flows are noted there; only what answers one, ARP and neighbour discovery come
// out, and only from hardware, the pod's address on the link, unless that is nil. The links are pinned and go with the
// device. The session must be known. Guarding again is no error; the next process has to, as it is told hardware anew.
func (o *Object) Guard(cookie uint64, hostIfindex int, hardware net.HardwareAddr) error {
	if err := o.guard(cookie, hostIfindex, hardware); err != nil {
		return fmt.Errorf("guard device %d of session %d: %w", hostIfindex, cookie, err)
	}
	return nil
}

func (o *Object) guard(cookie uint64, hostIfindex int, hardware net.HardwareAddr) error {
	if err := o.admitDevice(cookie, hostIfindex, hardware); err != nil {
		return err
	}
	for _, side := range o.sides() {
		if err := o.attachSide(guard{cookie, uint32(hostIfindex), side.name}, side); err != nil {
			return fmt.Errorf("attach %s: %w", side.attach, err)
		}
	}
	return nil
}

// ethernetAddress is how long an address of Ethernet is (ETH_ALEN).
const ethernetAddress = 6

// admitDevice tells the programs whose device it is.
func (o *Object) admitDevice(cookie uint64, hostIfindex int, hardware net.HardwareAddr) error {
	if o.node == nil {
		return errors.New("the object is no node's")
	}
	if hostIfindex <= 0 {
		return fmt.Errorf("device %d does not exist", hostIfindex)
	}
	var session redirectSession
	if err := o.objects.Sessions.Lookup(cookie, &session); err != nil {
		return fmt.Errorf("look for session: %w", err)
	}
	g := fenceGuard{Netns: cookie}
	if len(hardware) == ethernetAddress {
		g.Hardware = binary.NativeEndian.Uint64(append(slices.Clone(hardware), 0, 0))
	}
	if err := o.fence.Guards.Put(uint32(hostIfindex), &g); err != nil {
		return fmt.Errorf("store guard: %w", err)
	}
	return nil
}

// attachSide attaches in front of all other programs, whose verdict might end the row, or takes over its own link.
func (o *Object) attachSide(g guard, side side) error {
	path := o.node.guardPath(g)
	if standing, err := o.takeOverSide(path, side); standing || err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: int(g.ifindex), Program: side.program, Attach: side.attach, Anchor: link.Head(),
	})
	if err != nil {
		return cmp.Or(missingFence(err), err)
	}
	defer l.Close() // the pin holds it
	return l.Pin(path)
}

// takeOverSide gives a standing link the program of this build. A link whose device is gone is none.
func (o *Object) takeOverSide(path string, side side) (standing bool, err error) {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open link: %w", err)
	}
	defer l.Close()
	ifindex, err := deviceOf(l)
	if err != nil {
		return false, err
	}
	if ifindex == 0 {
		return false, l.Unpin()
	}
	return true, l.Update(side.program)
}

// deviceOf returns the index of the device that a link is attached to, or 0 if that is gone.
func deviceOf(l link.Link) (uint32, error) {
	info, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("look at link: %w", err)
	}
	tcx := info.TCX()
	if tcx == nil {
		return 0, errors.New("it is no tcx link")
	}
	return tcx.Ifindex, nil
}

// recoverGuards tells the new programs of all devices before the first of them takes over.
func (o *Object) recoverGuards() error {
	guards, err := o.node.guards()
	if err != nil {
		return fmt.Errorf("recover guards: %w", err)
	}
	for _, g := range guards {
		if err := o.fence.Guards.Put(g.ifindex, &fenceGuard{Netns: g.cookie}); err != nil {
			return fmt.Errorf("recover guard %s: %w", g.name(), err)
		}
	}
	for _, g := range guards {
		for _, side := range o.sides() {
			if side.name != g.side {
				continue
			}
			if _, err := o.takeOverSide(o.node.guardPath(g), side); err != nil {
				return fmt.Errorf("recover guard %s: %w", g.name(), err)
			}
		}
	}
	return nil
}

// Guarded lists the devices at which guards of the session are pinned.
func (o *Object) Guarded(cookie uint64) ([]int, error) {
	guards, err := o.node.guards()
	if err != nil {
		return nil, fmt.Errorf("list guards of session %d: %w", cookie, err)
	}
	var devices []int
	for _, g := range guards {
		if g.cookie == cookie && !slices.Contains(devices, int(g.ifindex)) {
			devices = append(devices, int(g.ifindex))
		}
	}
	return devices, nil
}

// GuardPrograms admits the device as [Object.Guard] does and returns the descriptors of the programs for it, to be
// attached as clsact filters (direct action): what comes from the pod is the device's ingress, what goes there its
// egress. They stay the object's. The next process has new ones, and what is attached stays in force until they take its
// place.
func (o *Object) GuardPrograms(cookie uint64, hostIfindex int, hardware net.HardwareAddr) (fromPod, toPod int, err error) {
	if err := o.admitDevice(cookie, hostIfindex, hardware); err != nil {
		return -1, -1, fmt.Errorf("guard device %d of session %d: %w", hostIfindex, cookie, err)
	}
	return o.fence.FromPod.FD(), o.fence.ToPod.FD(), nil
}

// Unguard takes the guards of the session's devices away. It is not an error if there is none.
func (o *Object) Unguard(cookie uint64) error {
	if o.node == nil {
		return nil
	}
	guards, err := o.node.guards()
	if err != nil {
		return fmt.Errorf("unguard session %d: %w", cookie, err)
	}
	var errs []error
	for _, g := range guards {
		if g.cookie == cookie {
			errs = append(errs, os.Remove(o.node.guardPath(g)))
		}
	}
	return errors.Join(append(errs, o.forgetDevices(cookie))...)
}

func (o *Object) forgetDevices(cookie uint64) error {
	var ifindex uint32
	var g fenceGuard
	var devices []uint32
	entries := o.fence.Guards.Iterate()
	for entries.Next(&ifindex, &g) {
		if g.Netns == cookie {
			devices = append(devices, ifindex)
		}
	}
	errs := []error{entries.Err()}
	for _, ifindex := range devices {
		errs = append(errs, forget(o.fence.Guards, ifindex))
	}
	return errors.Join(errs...)
}
