//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The second layer. AnyIP routes deliver every address to this namespace; whatever arrives without having been
 * rewritten (hooks detached, socket older than the cgroup) is steered to the same listeners, where getsockname() is
 * the destination that was asked for. Nothing here knows a session's policy, nor needs to.
 */
#include "steer.h"

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	enum course course = judge_arrival(ctx);
	struct bpf_sock *listener;
	long refused;

	if (course == COURSE_PASS)
		return SK_PASS;
	if (course == COURSE_DROP)
		return SK_DROP;
	listener = listener_of(ctx->family);
	if (!listener)
		return SK_DROP;
	refused = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	if (refused)
		return SK_DROP;
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
