/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the origin of a connection reaches the accepted socket, and only that one:
 *
 *   connect()                      clients    the connecting socket's own storage
 *   SYN about to be sent           inflight   {session, 4-tuple, initial sequence number}
 *   handshake done, before accept  accepted   the accepted socket's own storage
 *
 * The entry in between lives for one handshake. It belongs to a session (a map of its own, so a flood evicts nobody)
 * and, by the sequence number, to one connection attempt: under resets with source-port reuse a new attempt can publish
 * the same 4-tuple before the old one's last ACK is processed. A full map leaves the connection without an origin.
 */
#ifndef PHANTOM_ORIGIN_H
#define PHANTOM_ORIGIN_H

#include "reason.h"
#include "request.h"
#include "session.h"

struct flow {
	__u64 netns;
	struct address source;
	struct address destination;
	__u16 source_port;      /* host order, both */
	__u16 destination_port;
	__u32 sequence;         /* the client's initial sequence number */
};

/* What a socket of the session carries from its creation on. */
struct client {
	__u64 netns;
	struct origin origin;
	struct flow flow;
	__u32 redirected; /* origin is a destination, to be published */
	__u32 published;  /* flow is in the in-flight map unless the handshake has taken it */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct origin);
} accepted SEC(".maps");

/* Handshakes of one session at a time. On loopback one takes microseconds unless the accept queue is full. */
struct handshakes {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct flow);
	__type(value, struct origin);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__array(values, struct handshakes);
} inflight SEC(".maps");

/* Entries that the accepting side had not taken when the connecting one closed: 3 in 600,000 resets, measured. */
enum { LEFTOVERS = 256 };

struct leftovers {
	struct bpf_spin_lock lock;
	__u32 next;
	struct flow flows[LEFTOVERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct leftovers);
} leftovers SEC(".maps");

static __always_inline struct client *client_of(struct bpf_sock *sk, __u64 flags)
{
	return sk ? bpf_sk_storage_get(&clients, sk, 0, flags) : NULL;
}

/* Marks a new socket as the session's: egress has no other way to know (no netns cookie there below 6.16). */
static __always_inline enum reason mark(struct bpf_sock *sk, const struct request *request)
{
	struct client *client = client_of(sk, BPF_SK_STORAGE_GET_F_CREATE);

	if (!client)
		return REASON_STORAGE;
	client->netns = request->netns;
	client->origin = request->origin;
	return REASON_PASS;
}

/* Every connect() of a socket rewrites its memory: a redirected one may connect again to loopback. */
static __always_inline enum reason remember(struct bpf_sock *sk, const struct request *request, enum reason reason)
{
	bool redirect = reason == REASON_REDIRECT;
	struct client *client = client_of(sk, redirect ? BPF_SK_STORAGE_GET_F_CREATE : 0);

	if (!client)
		return redirect ? REASON_STORAGE : reason;
	client->redirected = redirect;
	if (redirect) {
		client->netns = request->netns;
		client->origin = request->origin;
	}
	return reason;
}

/* family, addresses and ports as the connecting side has them; turned round on the accepting side. */
static __always_inline void read_local(struct bpf_sock_ops *ctx, struct address *address, __u16 *port)
{
	if (LOAD(ctx, family) == AF_INET6) {
		address->word[0] = LOAD(ctx, local_ip6[0]);
		address->word[1] = LOAD(ctx, local_ip6[1]);
		address->word[2] = LOAD(ctx, local_ip6[2]);
		address->word[3] = LOAD(ctx, local_ip6[3]);
	} else {
		*address = mapped(LOAD(ctx, local_ip4));
	}
	*port = LOAD(ctx, local_port);
}

static __always_inline void read_remote(struct bpf_sock_ops *ctx, struct address *address, __u16 *port)
{
	if (LOAD(ctx, family) == AF_INET6) {
		address->word[0] = LOAD(ctx, remote_ip6[0]);
		address->word[1] = LOAD(ctx, remote_ip6[1]);
		address->word[2] = LOAD(ctx, remote_ip6[2]);
		address->word[3] = LOAD(ctx, remote_ip6[3]);
	} else {
		*address = mapped(LOAD(ctx, remote_ip4));
	}
	*port = bpf_ntohl(LOAD(ctx, remote_port));
}

/*
 * publish runs at BPF_SOCK_OPS_NEEDS_ECN: tcp_connect() asks it once per attempt, after it has fixed the initial
 * sequence number (snd_una) and before it sends the SYN. TCP_CONNECT_CB comes before the number is known. Were a kernel
 * to ask earlier, the accepting side would find nothing, and the connection would be closed.
 */
static __always_inline enum reason publish(struct bpf_sock_ops *ctx, struct client *client)
{
	struct flow flow = { .netns = client->netns };
	void *handshakes = bpf_map_lookup_elem(&inflight, &flow.netns);

	if (!handshakes)
		return REASON_SESSION;
	read_local(ctx, &flow.source, &flow.source_port);
	read_remote(ctx, &flow.destination, &flow.destination_port);
	flow.sequence = LOAD(ctx, snd_una);
	if (bpf_map_update_elem(handshakes, &flow, &client->origin, BPF_ANY))
		return REASON_INFLIGHT;
	client->flow = flow;
	client->published = true;
	bpf_sock_ops_cb_flags_set(ctx, LOAD(ctx, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG);
	return REASON_PASS;
}

/* Puts a flow in the place of the oldest leftover, whose entry goes. */
static __always_inline void leave_behind(void *handshakes, const struct flow *flow)
{
	struct leftovers *left = bpf_map_lookup_elem(&leftovers, &flow->netns);
	struct flow oldest;
	__u32 index;

	if (!left)
		return;
	bpf_spin_lock(&left->lock);
	index = left->next++ % LEFTOVERS;
	oldest = left->flows[index];
	left->flows[index] = *flow;
	bpf_spin_unlock(&left->lock);
	bpf_map_delete_elem(handshakes, &oldest);
}

/*
 * The connecting socket has closed. If the peer had not answered (SYN_SENT), nobody will take the entry. If it had, the
 * last ACK may still be on its way, with a reset behind it: the entry waits until LEFTOVERS others have come after it.
 */
static __always_inline void withdraw(struct client *client, __u32 state)
{
	struct flow flow = client->flow;
	void *handshakes = bpf_map_lookup_elem(&inflight, &flow.netns);

	if (!client->published || !handshakes)
		return;
	client->published = false;
	if (state == BPF_TCP_SYN_SENT)
		bpf_map_delete_elem(handshakes, &flow);
	else if (bpf_map_lookup_elem(handshakes, &flow))
		leave_behind(handshakes, &flow);
}

/* Runs before accept() can return the socket; with Fast Open, when the SYN arrives. rcv_nxt is the number after the SYN's. */
static __always_inline enum reason adopt(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct request *request)
{
	struct flow flow = { .netns = request->netns };
	void *handshakes = bpf_map_lookup_elem(&inflight, &flow.netns);
	struct session *session = session_of(request->netns);
	struct origin *found;

	if (!handshakes || !session)
		return REASON_PASS;
	read_remote(ctx, &flow.source, &flow.source_port);
	read_local(ctx, &flow.destination, &flow.destination_port);
	flow.sequence = LOAD(ctx, rcv_nxt) - 1;
	request->origin.to = flow.destination;
	request->origin.port = flow.destination_port;
	found = bpf_map_lookup_elem(handshakes, &flow);
	if (!found)
		return flow.destination_port == session->port && is_loopback(&flow.destination) ? REASON_ORPHAN : REASON_PASS;
	request->origin = *found;
	bpf_map_delete_elem(handshakes, &flow);
	if (!bpf_sk_storage_get(&accepted, sk, &request->origin, BPF_SK_STORAGE_GET_F_CREATE))
		return REASON_STORAGE;
	return REASON_ORIGIN;
}

#endif
