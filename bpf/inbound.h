/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who reached a pod from outside. The fence notes inbound flows at the host's end of the pod's link; both it and the
 * hooks let out only what answers one. An inbound peer is a way out, and the only one that the kernel half leaves.
 */
#ifndef PHANTOM_INBOUND_H
#define PHANTOM_INBOUND_H

#include "ledger.h"

/* A flow, whichever of the pod's addresses it came to. */
struct peer {
	struct address address;
	__u16 port;     /* host order, both; of an echo the identifier and the request's type */
	__u16 own_port; /* of a neighbour 0 and the solicitation's type */
	__u32 protocol; /* IPPROTO_* */
};

/* Bytes, not bits: the two directions run on two processors, and a store to one must not undo one to another. */
struct inbound {
	__u64 seen;            /* CLOCK_BOOTTIME, ns */
	__u32 acknowledgement; /* TCP: what the peer's next number must be to prove that it had the answer */
	__u8 answered;
	__u8 established;      /* the peer had the answer: it is no forged source */
	__u8 peer_ended;       /* FIN */
	__u8 pod_ended;
	__u8 reset;
	__u8 reserved[7];
};

/* One session's. Full of live flows, there is no room for a new one: nothing is put out for it. */
struct flows {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct peer);
	__type(value, struct inbound);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__array(values, struct flows);
} inbounds SEC(".maps");

/* Keep the types of an inner map in the object's BTF. */
const struct peer *const peer_type __attribute__((unused)) = NULL;
const struct inbound *const inbound_type __attribute__((unused)) = NULL;

/*
 * How long after its last packet a flow is one, in seconds. A keep-alive probe comes after two hours (tcp_keepalive_time)
 * and its last repetition 11 minutes later; an unanswered SYN-ACK is repeated after at most 32 seconds; a last FIN within
 * a few.
 */
enum { ESTABLISHED_LIFE = 3 * 3600, OPENING_LIFE = 60, ENDED_LIFE = 5, DATAGRAM_LIFE = 60, NEIGHBOUR_LIFE = 3600 };

static __always_inline __u64 life_of(const struct peer *peer, const struct inbound *inbound)
{
	if (peer->protocol == IPPROTO_ICMPV6 && !peer->port)
		return NEIGHBOUR_LIFE;
	if (peer->protocol != IPPROTO_TCP)
		return DATAGRAM_LIFE;
	if (inbound->reset || (inbound->peer_ended && inbound->pod_ended))
		return ENDED_LIFE;
	return inbound->established ? ESTABLISHED_LIFE : OPENING_LIFE;
}

static __always_inline bool is_over(const struct peer *peer, const struct inbound *inbound, __u64 now)
{
	/* Signed: another processor's now may be the later one. */
	return (__s64)(now - inbound->seen) > (__s64)(life_of(peer, inbound) * SECOND);
}

/* The live flow with this peer, or NULL. */
static __always_inline struct inbound *inbound_of(__u64 netns, const struct peer *peer, __u64 now)
{
	void *flows = bpf_map_lookup_elem(&inbounds, &netns);
	struct inbound *inbound = flows ? bpf_map_lookup_elem(flows, peer) : NULL;

	return inbound && !is_over(peer, inbound, now) ? inbound : NULL;
}

#endif
