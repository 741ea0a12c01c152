//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells when a server comes to one of a few ports, and when it goes. It decides nothing, and is loaded only where a port
 * of the host's is to be there for as long as a server inside is.
 */
#include "uapi.h"

/* How many sockets listen on a port. The ports, host byte order, are all there before the program is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} servers SEC(".maps");

/*
 * The ports whose number has changed. Whoever reads one reads the number after it, so a full ring loses nothing of a port
 * that it holds. A session that fills it with one port can only lose what would be told of its others.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} changes SEC(".maps");

static __always_inline void change(__u32 port, __s32 by)
{
	__u32 *number = bpf_map_lookup_elem(&servers, &port);

	if (!number)
		return;
	__sync_fetch_and_add(number, by);
	bpf_ringbuf_output(&changes, &port, sizeof(port), 0);
}

/* The kernel ignores what these callbacks return. Accepted sockets inherit the flag, and leave other states than LISTEN. */
SEC("sockops")
int count_servers(struct bpf_sock_ops *ctx)
{
	__u32 op = ctx->op;
	__u32 port = ctx->local_port;

	if (op == BPF_SOCK_OPS_TCP_LISTEN_CB) {
		bpf_sock_ops_cb_flags_set(ctx, LOAD(ctx, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG);
		change(port, 1);
	} else if (op == BPF_SOCK_OPS_STATE_CB && LOAD(ctx, args[0]) == BPF_TCP_LISTEN) {
		change(port, -1);
	}
	return 1;
}

char _license[] SEC("license") = "GPL";
