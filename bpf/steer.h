/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules of the second layer: three courses, and the two listeners. */
#ifndef PHANTOM_STEER_H
#define PHANTOM_STEER_H

#include "address.h"

enum course {
	COURSE_DROP,   /* UDP: the sender's next call fails with ECONNREFUSED */
	COURSE_PASS,   /* to whoever listens there: the agent's own servers, the DNS stub */
	COURSE_LISTENER,
};

enum { LISTENER_TCP4, LISTENER_TCP6, LISTENERS };

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, LISTENERS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

struct own_addresses {
	struct address own4; /* v4-mapped */
	struct address own6;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own_addresses);
} own SEC(".maps");

static __always_inline struct address read_destination(struct bpf_sk_lookup *ctx)
{
	struct address to;

	if (LOAD(ctx, family) == AF_INET)
		return mapped(LOAD(ctx, local_ip4));
	to.word[0] = LOAD(ctx, local_ip6[0]);
	to.word[1] = LOAD(ctx, local_ip6[1]);
	to.word[2] = LOAD(ctx, local_ip6[2]);
	to.word[3] = LOAD(ctx, local_ip6[3]);
	return to;
}

static __always_inline enum course judge_arrival(struct bpf_sk_lookup *ctx)
{
	struct address to = read_destination(ctx);
	__u32 key = 0;
	struct own_addresses *mine = bpf_map_lookup_elem(&own, &key);

	if (!mine)
		return COURSE_DROP;
	if (is_loopback(&to) || is_equal(&to, &mine->own4) || is_equal(&to, &mine->own6))
		return COURSE_PASS;
	if (LOAD(ctx, local_port) == DNS_PORT)
		return COURSE_PASS;
	if (LOAD(ctx, protocol) == IPPROTO_TCP)
		return COURSE_LISTENER;
	return COURSE_DROP;
}

/* Holds a reference, to be released. */
static __always_inline struct bpf_sock *listener_of(__u32 family)
{
	__u32 key = family == AF_INET ? LISTENER_TCP4 : LISTENER_TCP6;

	return bpf_map_lookup_elem(&listeners, &key);
}

#endif
