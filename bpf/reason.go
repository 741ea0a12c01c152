// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf/btf"
)

// Reason says why the kernel half did what it did. The list is closed; reason.h defines it, with errnos.
type Reason redirectReason

// The reasons. Those with an errno other than 0 are refusals and appear in a [Denial].
const (
	ReasonPass       = Reason(redirectReasonREASON_PASS)       // unchanged; not counted
	ReasonRedirect   = Reason(redirectReasonREASON_REDIRECT)   // rewritten to the listener
	ReasonOrigin     = Reason(redirectReasonREASON_ORIGIN)     // origin moved into the accepted socket
	ReasonSession    = Reason(redirectReasonREASON_SESSION)    // no session for the network namespace
	ReasonProtocol   = Reason(redirectReasonREASON_PROTOCOL)   // neither TCP nor UDP over IPv4 or IPv6
	ReasonDevice     = Reason(redirectReasonREASON_DEVICE)     // socket bound to a device other than lo
	ReasonListener   = Reason(redirectReasonREASON_LISTENER)   // straight to the listener
	ReasonUndeclared = Reason(redirectReasonREASON_UNDECLARED) // TCP to an address neither synthetic nor declared
	ReasonUDP        = Reason(redirectReasonREASON_UDP)        // datagram to another host's port other than 53
	ReasonStorage    = Reason(redirectReasonREASON_STORAGE)    // socket storage refused (net.core.optmem_max)
	ReasonInterface  = Reason(redirectReasonREASON_INTERFACE)  // packet for an interface other than lo
	ReasonPacket     = Reason(redirectReasonREASON_PACKET)     // packet neither TCP nor UDP, or with header options
	ReasonInflight   = Reason(redirectReasonREASON_INFLIGHT)   // in-flight map full; the connection has no origin
	ReasonOrphan     = Reason(redirectReasonREASON_ORPHAN)     // accepted on the listener without an origin

	// Of guards, which drop packets at the host's end of a pod's link.
	ReasonUnsolicited = Reason(redirectReasonREASON_UNSOLICITED) // answers no inbound flow
	ReasonSpoofed     = Reason(redirectReasonREASON_SPOOFED)     // source address is not the pod's
	ReasonFrame       = Reason(redirectReasonREASON_FRAME)       // neither plain IPv4, IPv6 nor ARP, or tagged
	ReasonFlows       = Reason(redirectReasonREASON_FLOWS)       // new inbound flow, and no room to note it
	ReasonMembership  = Reason(redirectReasonREASON_MEMBERSHIP)  // IGMP or MLD report; counted, never told

	// Of [Peers].
	ReasonUnix   = Reason(redirectReasonREASON_UNIX)   // unix socket that the session did not make
	ReasonFamily = Reason(redirectReasonREASON_FAMILY) // socket of a family that may lead out of the namespace
)

// Reasons returns every reason, in the order of the C table.
func Reasons() []Reason {
	reasons := make([]Reason, len(reasonTable().names))
	for i := range reasons {
		reasons[i] = Reason(i)
	}
	return reasons
}

// String returns the reason's name in snake_case.
func (r Reason) String() string {
	names := reasonTable().names
	if int64(r) >= int64(len(names)) {
		return fmt.Sprintf("reason_%d", uint32(r))
	}
	return names[r]
}

// Errno returns what the refused call fails with on kernels from 6.1, or 0 if the reason refuses nothing. Packets
// refused in egress and all refusals of the legacy object are EPERM.
func (r Reason) Errno() syscall.Errno {
	errnos := reasonTable().errnos
	if int64(r) >= int64(len(errnos)) {
		return syscall.EPERM
	}
	return errnos[r]
}

type table struct {
	names  []string
	errnos []syscall.Errno
}

// reasonTable reads the one table, which is C, out of the embedded object. The object is part of this program and
// covered by tests, so a fault in it is a fault in the program.
var reasonTable = sync.OnceValue(func() table {
	t, err := readReasonTable()
	if err != nil {
		panic(err)
	}
	return t
})

func readReasonTable() (table, error) {
	spec, err := loadRedirect()
	if err != nil {
		return table{}, err
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		return table{}, fmt.Errorf("find enum reason: %w", err)
	}
	t := table{names: make([]string, len(enum.Values)), errnos: make([]syscall.Errno, len(enum.Values))}
	raw := make([]uint32, len(enum.Values))
	if err := spec.Variables[redirectVarReasonErrno].Get(raw); err != nil {
		return table{}, fmt.Errorf("read reason_errno: %w", err)
	}
	for _, value := range enum.Values {
		t.names[value.Value] = strings.ToLower(strings.TrimPrefix(value.Name, "REASON_"))
		t.errnos[value.Value] = syscall.Errno(raw[value.Value])
	}
	return t, nil
}
