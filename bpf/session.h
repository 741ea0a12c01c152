/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between sessions: one entry keyed by netns cookie, and the prefixes declared for that cookie. */
#ifndef PHANTOM_SESSION_H
#define PHANTOM_SESSION_H

#include "address.h"

enum { OWN_ADDRESSES = 16 };

/* An address left zero is absent; connections that need an absent listener are refused. */
struct session {
	struct address listener4;          /* v4-mapped */
	struct address listener6;
	struct address own[OWN_ADDRESSES]; /* beside loopback; up to the first that is zero */
	__u16 port;                        /* of both listeners, host order */
	__u16 stub_port;                   /* of a pod's DNS stub; 0: none */
	__u8 pod;                          /* has interfaces: what answers an inbound flow may leave */
	__u8 unfenced;                     /* nobody notes inbound flows: nftables judges what leaves */
	__u16 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct session);
} sessions SEC(".maps");

/*
 * A synthetic or declared prefix. family keeps ::/0 from meaning all of IPv4 as well. length counts the bits of family
 * and netns too, which always match whole (PREFIX_FIXED_BITS).
 */
struct prefix {
	__u32 length;
	__u32 family;
	__u64 netns;
	struct address address;
};

enum { PREFIX_FIXED_BITS = 96, PREFIX_BITS = PREFIX_FIXED_BITS + 128 };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

/*
 * shared: the programs hang at a parent cgroup of many sessions and of strangers, so an unknown namespace is not ours
 * and passes. Otherwise the cgroup is one session's and an unknown namespace is refused.
 */
const volatile bool shared = false;

static __always_inline struct session *session_of(__u64 netns)
{
	return bpf_map_lookup_elem(&sessions, &netns);
}

/* Asked before anything else is read: at the root of a machine's cgroups most callers are strangers. */
static __always_inline bool is_stranger(const struct session *session)
{
	return shared && !session;
}

/* There are pods among the sessions of a node alone; the verifier skips their rules in other objects. */
static __always_inline bool is_pod(const struct session *session)
{
	return shared && session->pod;
}

static __always_inline bool is_declared(__u64 netns, const struct address *to)
{
	struct prefix key = {
		.length = PREFIX_BITS,
		.family = is_mapped(to) ? AF_INET : AF_INET6,
		.netns = netns,
		.address = *to,
	};

	return bpf_map_lookup_elem(&prefixes, &key) != NULL;
}

/*
 * Without a branch for each address, of which the verifier would follow every one in turn. A namespace that is alone with
 * its programs has the two addresses of lo.
 */
static __always_inline bool is_assigned(const struct session *session, const struct address *address)
{
	__u64 same = 0;

	if (is_unspecified(address))
		return false;
	for (int i = 0; i < OWN_ADDRESSES && (shared || i < 2); i++) {
		__u64 difference = difference_of(address, &session->own[i]);

		same |= (difference - 1) >> 63;
	}
	return same;
}

/* Addresses on which the agent may run servers of its own. */
static __always_inline bool is_own(const struct session *session, const struct address *to)
{
	return is_loopback(to) || is_unspecified(to) || is_assigned(session, to);
}

#endif
