// SPDX-License-Identifier: Apache-2.0

// Package netns makes the sealed network namespace of a session, and fences those
// that a container's runtime made.
//
// It guarantees that a Namespace returned by New
//
//   - holds lo and no other device, so that no packet can leave it whatever
//     runs inside and whether or not any filter is attached;
//   - is owned by the caller's user namespace, so that a user namespace made
//     by a process inside owns nothing of it;
//   - has one ordinary address of each family on lo, because glibc's
//     AI_ADDRCONFIG lookups and Bun fail outright when there is none;
//   - treats every address of each family as local (AnyIP), so that a
//     connection to any destination arrives at a socket inside or is refused
//     at once, and never hangs;
//   - lacks IPv6 only where the kernel lacks it (ipv6.disable=1); absence is
//     closed, not an error.
//
// Seal makes the same of an empty namespace of a runtime's, with the addresses on
// an interface that leads nowhere. One that keeps its
// links is fenced: Fence guarantees that, of all sockets but those of AF_PACKET and
// until somebody with CAP_NET_ADMIN inside takes it away (CheckFence tells),
//
//   - only replies of flows that were begun outside leave by a link, and what the
//     kernel itself says to find its neighbours;
//   - questions on port 53 go to the session's stub, before any rule of others
//     sends them elsewhere, but for the container's own servers;
//   - everything else is refused at once and counted, and nothing is forwarded;
//   - rules of others stay, and cannot allow what these refuse.
//
// Against CAP_NET_RAW, and CAP_NET_ADMIN over the namespace's own links, stands a
// filter on the host's end of the link (package bpf), which Uplinks finds and
// AttachClsact attaches where the kernel has no tcx.
//
// Open never answers for the host's own namespace, and follows no path that
// anyone but root made.
//
// A Namespace lives as long as its descriptor or a process inside it: nothing
// is mounted or named here, so a crash leaves nothing behind.
package netns
