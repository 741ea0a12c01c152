// SPDX-License-Identifier: Apache-2.0

// Package bpf is the kernel half: it sends every socket of a session to the session's proxy, or nowhere.
//
// It guarantees, for every socket created in a cgroup while [Object.Attach] holds there:
//
//   - A TCP connection to a synthetic or declared prefix arrives at the session's listener, and the accepted socket
//     knows, before accept returns it, where the connection was meant to go and who asked (SO_ORIGINAL_DST). It knows
//     exactly that or nothing: an origin is never another connection's.
//   - Loopback, the namespace's own addresses and port 53 are left alone; the listener itself refuses who comes straight.
//   - Everything else is refused: other TCP at connect, other datagrams at send, other protocols at socket, packets for
//     an interface other than lo at egress. A session the programs do not know is refused too, unless [Options.Shared].
//   - Each refusal is counted by session and [Reason] and, up to 64 a second of each, told as a [Denial].
//
// [Steer] is the second layer, independent of the first: it needs no cgroup, and takes what the hooks did not see.
//
// [OpenNode] is that for all sessions of a machine, with hooks and sessions that outlive the process. There the namespace of
// a container may be a pod: it has interfaces, and what answers a flow that came to it by them from outside may leave,
// nothing else. [Object.Guard] holds that at the host's end of the link, against whoever is root inside.
//
// The kernel half has no policy. It knows two prefixes and a short list; names, ports and credentials are the proxy's.
//
// Kernels: 6.1 for all of it. From 5.10 the legacy object serves one session, and every refusal is EPERM: bpf_set_retval
// came to connect, sendmsg and sock_create hooks with 6.1 (bed89185af0d), bpf_get_netns_cookie to sock_ops with 5.15.
//
// A link lives as long as its file descriptor or pin, so an Object that is no node's must be kept for as long as its hooks
// are wanted. An ancestor cgroup's programs run after these and may undo a rewrite; a descendant's run before them and
// cannot.
package bpf
