/* SPDX-License-Identifier: GPL-2.0-only */
/* A request: who wants to reach what, read once from a context, then judged without it. */
#ifndef PHANTOM_REQUEST_H
#define PHANTOM_REQUEST_H

#include "address.h"

/* Where a connection was meant to go, and who asked. */
struct origin {
	struct address to; /* IPv4 v4-mapped */
	__u16 port;        /* host order */
	__u16 reserved;
	__u32 pid;         /* thread group, in the initial pid namespace */
	__u32 uid;         /* in the initial user namespace */
	__u32 reserved2;
	__u64 cookie;      /* of the connecting socket */
	char comm[16];
};

struct request {
	struct origin origin;
	__u64 netns;
	__u32 device;   /* ifindex the socket is bound to, 0 if none */
	__u32 protocol; /* IPPROTO_* */
	__u16 own_port; /* host order */
	__u16 reserved[3];
};

/* Only in hooks that run in the caller's own context: not in sock_ops, not in egress. */
static __always_inline void read_caller(struct request *request)
{
	request->origin.pid = bpf_get_current_pid_tgid() >> 32;
	request->origin.uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(request->origin.comm, sizeof(request->origin.comm));
}

static __always_inline void read_socket(struct bpf_sock_addr *ctx, struct request *request)
{
	struct bpf_sock *sk = ctx->sk;

	read_caller(request);
	request->netns = netns_of(ctx);
	request->protocol = ctx->protocol;
	request->origin.port = bpf_ntohs((__be16)ctx->user_port);
	request->origin.cookie = bpf_get_socket_cookie(ctx);
	if (sk) {
		request->device = sk->bound_dev_if;
		request->own_port = sk->src_port;
	}
}

static __always_inline void read_request4(struct bpf_sock_addr *ctx, struct request *request)
{
	read_socket(ctx, request);
	request->origin.to = mapped(LOAD(ctx, user_ip4));
}

static __always_inline void read_request6(struct bpf_sock_addr *ctx, struct request *request)
{
	read_socket(ctx, request);
	request->origin.to.word[0] = LOAD(ctx, user_ip6[0]);
	request->origin.to.word[1] = LOAD(ctx, user_ip6[1]);
	request->origin.to.word[2] = LOAD(ctx, user_ip6[2]);
	request->origin.to.word[3] = LOAD(ctx, user_ip6[3]);
}

#endif
