/* SPDX-License-Identifier: GPL-2.0-only */
/* The answer to getsockopt(SO_ORIGINAL_DST) on an accepted socket. */
#ifndef PHANTOM_ANSWER_H
#define PHANTOM_ANSWER_H

#include "request.h"

/* struct sockaddr_in and struct sockaddr_in6, in the words that BPF writes. */
struct sockaddr4 {
	__u16 family;
	__be16 port;
	__be32 address;
	__u8 zero[8];
};

struct sockaddr6 {
	__u16 family;
	__be16 port;
	__be32 flow;
	struct address address;
	__u32 scope;
};

/* For callers that bring 64 bytes or more. */
struct answer {
	union {
		struct sockaddr4 in;
		struct sockaddr6 in6;
		__u8 room[32];
	} to;
	__u32 pid;
	__u32 uid;
	__u64 cookie;
	char comm[16];
};

_Static_assert(sizeof(struct answer) == 64, "the length callers ask with");

/* The length of the address, or 0 if the origin has no such form. */
static __always_inline __u32 write_address(const struct origin *origin, __u32 level, struct answer *answer)
{
	if (level == SOL_IP && is_mapped(&origin->to)) {
		answer->to.in.family = AF_INET;
		answer->to.in.port = bpf_htons(origin->port);
		answer->to.in.address = origin->to.word[3];
		return sizeof(answer->to.in);
	}
	if (level == SOL_IPV6) {
		answer->to.in6.family = AF_INET6;
		answer->to.in6.port = bpf_htons(origin->port);
		answer->to.in6.address = origin->to;
		return sizeof(answer->to.in6);
	}
	return 0;
}

static __always_inline void write_caller(const struct origin *origin, struct answer *answer)
{
	answer->pid = origin->pid;
	answer->uid = origin->uid;
	answer->cookie = origin->cookie;
	__builtin_memcpy(answer->comm, origin->comm, sizeof(answer->comm));
}

/* Copies length bytes of the answer into the caller's buffer if they fit; true if so. */
#define PUT(ctx, answer, type)                                                      \
	({                                                                          \
		void *buffer = (void *)(long)(ctx)->optval;                         \
		bool fits = buffer + sizeof(type) <= (void *)(long)(ctx)->optval_end; \
		if (fits) {                                                         \
			__builtin_memcpy(buffer, answer, sizeof(type));             \
			(ctx)->optlen = sizeof(type);                               \
			(ctx)->retval = 0;                                          \
		}                                                                   \
		fits;                                                               \
	})

static __always_inline void write_answer(struct bpf_sockopt *ctx, const struct origin *origin)
{
	struct answer answer = {};
	__u32 length = write_address(origin, ctx->level, &answer);

	if (!length)
		return;
	write_caller(origin, &answer);
	if (PUT(ctx, &answer, struct answer))
		return;
	if (length == sizeof(struct sockaddr4))
		PUT(ctx, &answer, struct sockaddr4);
	else
		PUT(ctx, &answer, struct sockaddr6);
}

#endif
