//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The redirect. Every function here reads a context, asks for a reason, records it, and alone turns it into a verdict.
 * A socket goes to the proxy or nowhere: a reason whose errno is not 0 refuses, and allowing is the last line.
 */
#include "answer.h"
#include "ledger.h"
#include "origin.h"
#include "packet.h"
#include "verdict.h"

/* What a cgroup hook returns: refuse with the errno that was set (EPERM if none), or go on. */
enum { REFUSE = 0, ALLOW = 1 };

/* The end of every hook that can say why it refuses. */
static __always_inline int conclude(const struct request *request, enum reason reason)
{
	record(request, reason);
	if (!errno_of(reason))
		return ALLOW;
	set_errno(errno_of(reason));
	return REFUSE;
}

/* One look at the session serves the verdict and the rewrite: it may be added or removed in between. */
static __always_inline enum reason
connect(struct bpf_sock_addr *ctx, const struct session *session, const struct request *request)
{
	enum reason reason = judge_connect(session, request);

	if (request->protocol != IPPROTO_TCP)
		return reason;
	return remember(ctx->sk, request, reason);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct request request = {};
	struct session *session = session_of(netns_of(ctx));
	enum reason reason;

	if (is_stranger(session))
		return ALLOW;
	read_request4(ctx, &request);
	reason = connect(ctx, session, &request);
	if (conclude(&request, reason) == REFUSE)
		return REFUSE;
	if (reason == REASON_REDIRECT) {
		if (!session)
			return REFUSE;
		ctx->user_ip4 = session->listener4.word[3];
		ctx->user_port = bpf_htons(session->port);
	}
	return ALLOW;
}

/* A v4-mapped destination stays v4-mapped, since the socket may be bound so; a native one goes to ::1 for IPV6_V6ONLY. */
SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct request request = {};
	struct session *session = session_of(netns_of(ctx));
	struct address listener;
	enum reason reason;

	if (is_stranger(session))
		return ALLOW;
	read_request6(ctx, &request);
	reason = connect(ctx, session, &request);
	if (conclude(&request, reason) == REFUSE)
		return REFUSE;
	if (reason == REASON_REDIRECT) {
		if (!session)
			return REFUSE;
		listener = is_mapped(&request.origin.to) ? session->listener4 : session->listener6;
		ctx->user_ip6[0] = listener.word[0];
		ctx->user_ip6[1] = listener.word[1];
		ctx->user_ip6[2] = listener.word[2];
		ctx->user_ip6[3] = listener.word[3];
		ctx->user_port = bpf_htons(session->port);
	}
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct request request = {};
	struct session *session = session_of(netns_of(ctx));
	enum reason reason;

	if (is_stranger(session))
		return ALLOW;
	read_request4(ctx, &request);
	reason = judge_datagram(session, &request);
	return conclude(&request, reason);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct request request = {};
	struct session *session = session_of(netns_of(ctx));
	enum reason reason;

	if (is_stranger(session))
		return ALLOW;
	read_request6(ctx, &request);
	reason = judge_datagram(session, &request);
	return conclude(&request, reason);
}

static __always_inline enum reason
create(struct bpf_sock *sk, const struct session *session, const struct request *request)
{
	enum reason reason;

	if (!session)
		return REASON_SESSION;
	reason = judge_socket(sk->family, sk->type, request->protocol);
	return reason == REASON_PASS ? mark(sk, request) : reason;
}

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	struct request request = { .protocol = ctx->protocol, .netns = netns_of(ctx) };
	struct session *session = session_of(request.netns);
	enum reason reason;

	if (is_stranger(session))
		return ALLOW;
	read_caller(&request);
	reason = create(ctx, session, &request);
	return conclude(&request, reason);
}

static __always_inline struct client *sender_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return client_of(sk ? bpf_sk_fullsock(sk) : NULL, 0);
}

static __always_inline void read_sender(const struct client *client, struct request *request)
{
	request->netns = client->netns;
	request->origin.pid = client->origin.pid;
	request->origin.uid = client->origin.uid;
	__builtin_memcpy(request->origin.comm, client->origin.comm, sizeof(request->origin.comm));
}

/*
 * A stream on lo has been judged at connect(), and egress sees every one of its packets: it is let go first. A socket
 * that a session made is nobody else's when the session is gone, so it is refused then even if strangers pass. Sockets
 * that a pod's servers accepted are strangers' here: the SYN came from outside, and the fence knows.
 */
static __always_inline enum reason leave(struct __sk_buff *skb, struct request *request)
{
	struct packet packet = {};
	struct session *session;
	struct client *client;
	bool plain;

	if (shared && !sender_of(skb))
		return REASON_PASS;
	plain = read_packet(skb, 0, &packet);
	if (plain && packet.protocol == IPPROTO_TCP && skb->ifindex == LOOPBACK_IFINDEX)
		return REASON_PASS;
	plain = plain && read_ports(skb, &packet);
	request->origin.to = packet.to;
	request->origin.port = packet.to_port;
	request->own_port = packet.from_port;
	request->protocol = packet.protocol;
	client = sender_of(skb);
	if (client)
		read_sender(client, request);
	session = client ? session_of(request->netns) : NULL;
	if (skb->ifindex != LOOPBACK_IFINDEX)
		return judge_departure(session, request, plain, packet.syn && !packet.ack);
	return plain ? judge_local(session, request) : REASON_PACKET;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *ctx)
{
	struct request request = {};
	enum reason reason = leave(ctx, &request);

	record(&request, reason);
	if (errno_of(reason))
		return REFUSE;
	return ALLOW;
}

static __always_inline enum reason shake(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct request *request)
{
	struct client *client;

	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		request->netns = netns_of(ctx);
		return adopt(ctx, sk, request);
	}
	client = client_of(sk, 0);
	if (!client || !client->redirected)
		return REASON_PASS;
	request->netns = client->netns;
	request->origin = client->origin;
	if (ctx->op == BPF_SOCK_OPS_NEEDS_ECN)
		return publish(ctx, client);
	if (ctx->args[1] == BPF_TCP_CLOSE)
		withdraw(client, ctx->args[0]);
	return REASON_PASS;
}

/* No verdict: the kernel ignores what these callbacks return, but for reply, which is left as it is. */
SEC("sockops")
int handshake(struct bpf_sock_ops *ctx)
{
	struct request request = { .protocol = IPPROTO_TCP };
	__u32 op = ctx->op;
	struct bpf_sock *sk;

	if (op != BPF_SOCK_OPS_NEEDS_ECN && op != BPF_SOCK_OPS_STATE_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return ALLOW;
	sk = ctx->sk;
	if (sk)
		record(&request, shake(ctx, sk, &request));
	return ALLOW;
}

/* An optlen of 0 means "the caller keeps the kernel's own bytes", whose first page alone BPF could pass on. */
SEC("cgroup/getsockopt")
int getsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct origin *origin;

	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6)) {
		ctx->optlen = 0;
		return ALLOW;
	}
	origin = sk ? bpf_sk_storage_get(&accepted, sk, 0, 0) : NULL;
	if (origin)
		write_answer(ctx, origin);
	return ALLOW;
}

/* The agent sees the peer it asked for. */
SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct client *client = client_of(ctx->sk, 0);

	if (client && client->redirected) {
		ctx->user_ip4 = client->origin.to.word[3];
		ctx->user_port = bpf_htons(client->origin.port);
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct client *client = client_of(ctx->sk, 0);

	if (client && client->redirected) {
		ctx->user_ip6[0] = client->origin.to.word[0];
		ctx->user_ip6[1] = client->origin.to.word[1];
		ctx->user_ip6[2] = client->origin.to.word[2];
		ctx->user_ip6[3] = client->origin.to.word[3];
		ctx->user_port = bpf_htons(client->origin.port);
	}
	return ALLOW;
}

/* bpf_sk_storage_get, bpf_spin_lock and others are for GPL-compatible programs only. */
char _license[] SEC("license") = "GPL";
