/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses of both families in one form: IPv4 is held as v4-mapped IPv6, so that every rule is written once. */
#ifndef PHANTOM_ADDRESS_H
#define PHANTOM_ADDRESS_H

#include "uapi.h"

struct address {
	__be32 word[4];
};

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

static __always_inline struct address mapped(__be32 ip4)
{
	return (struct address){ .word = { 0, 0, MAPPED_PREFIX, ip4 } };
}

static __always_inline bool is_mapped(const struct address *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == MAPPED_PREFIX;
}

/* 0 for equal ones. Hidden from the compiler, which would make a branch of every use. */
static __always_inline __u64 difference_of(const struct address *a, const struct address *b)
{
	__u64 difference = (a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
			   (a->word[3] ^ b->word[3]);

	asm volatile("" : "+r"(difference));
	return difference;
}

static __always_inline bool is_equal(const struct address *a, const struct address *b)
{
	return !difference_of(a, b);
}

/* 127.0.0.0/8 in either notation, or ::1. */
static __always_inline bool is_loopback(const struct address *a)
{
	if (is_mapped(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !a->word[0] && !a->word[1] && !a->word[2] && a->word[3] == bpf_htonl(1);
}

/* 0.0.0.0 in either notation, or ::. The kernel connects these to loopback. */
static __always_inline bool is_unspecified(const struct address *a)
{
	return !a->word[3] && !a->word[0] && !a->word[1] && (!a->word[2] || a->word[2] == MAPPED_PREFIX);
}

#endif
