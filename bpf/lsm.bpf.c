//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of unix sockets, which pass descriptors and reach across namespaces by path: a session's process speaks to
 * sockets that the session made, or that its policy exposes. It stands behind the mounts, which hide the host's sockets,
 * and the filter of system calls, which refuses families, and closes what they cannot: a socket that is bound in sight
 * after the session began, and a ring that makes a socket past the filter.
 *
 * The programs hang at the session's cgroup (BPF_LSM_CGROUP, since 6.0): the kernel asks them about sockets that were made
 * there, so they cost nobody else anything. A context is the hook's arguments (include/linux/lsm_hook_defs.h).
 */
#include "peer.h"

/* What a hook returns: refuse with the errno that was set, or go on. */
enum { REFUSE = 0, ALLOW = 1 };

static __always_inline int refuse(enum reason reason)
{
	bpf_set_retval(-errno_of(reason));
	return REFUSE;
}

SEC("lsm_cgroup/socket_create")
int socket_create(__u64 *ctx)
{
	__u32 family = ctx[0], protocol = ctx[2], kernel = ctx[3];
	struct request request = { .netns = session, .protocol = family };
	enum reason reason;

	__sync_fetch_and_add(&made, 1);
	if (kernel)
		return ALLOW;
	reason = judge_family(family, protocol);
	if (reason == REASON_PASS)
		return ALLOW;
	read_caller(&request);
	record(&request, reason);
	return refuse(reason);
}

/* Without its mark a socket could not be told from the host's, so it does not come to be. */
SEC("lsm_cgroup/socket_post_create")
int socket_post_create(__u64 *ctx)
{
	struct socket *socket = (struct socket *)ctx[0];
	__u32 family = ctx[1];
	struct sock *sk;

	if (family != AF_UNIX)
		return ALLOW;
	sk = socket->sk;
	if (sk && bpf_sk_storage_get(&ours, sk, 0, BPF_SK_STORAGE_GET_F_CREATE))
		return ALLOW;
	return refuse(REASON_STORAGE);
}

static __always_inline int meet(struct sock *other)
{
	struct unix_sock *peer = (struct unix_sock *)other;
	struct request request = { .netns = session };

	if (is_ours(other) || is_exposed(peer))
		return ALLOW;
	read_caller(&request);
	record_peer(&request, peer);
	return refuse(REASON_UNIX);
}

/* Streams and packets: other is who listens. */
SEC("lsm_cgroup/unix_stream_connect")
int unix_stream_connect(__u64 *ctx)
{
	return meet((struct sock *)ctx[1]);
}

/* Datagrams, at connect() and at each that is sent. */
SEC("lsm_cgroup/unix_may_send")
int unix_may_send(__u64 *ctx)
{
	struct socket *socket = (struct socket *)ctx[1];
	struct sock *other = socket->sk;

	return other ? meet(other) : refuse(REASON_UNIX);
}

char _license[] SEC("license") = "GPL";
