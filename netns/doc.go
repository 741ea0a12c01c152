// SPDX-License-Identifier: Apache-2.0

// Package netns makes the sealed network namespace of a session.
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
// A Namespace lives as long as its descriptor or a process inside it: nothing
// is mounted or named, so a crash leaves nothing behind.
package netns
