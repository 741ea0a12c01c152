//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fence: at the host's end of a pod's link, out of reach of all that is in the pod. What goes to the pod passes, and
 * inbound flows are noted; what comes from it passes if it answers one, or finds a neighbour. The rest is dropped.
 * Sessions, flows and the ledger are the redirect's.
 */
#include "fence.h"

/* What a tc program returns: drop, or leave it to the next program (TC_ACT_SHOT, TC_ACT_UNSPEC). */
enum { DROP = 2, NEXT = -1 };

static __always_inline struct guard *guard_of(struct __sk_buff *skb)
{
	__u32 device = skb->ifindex;

	return bpf_map_lookup_elem(&guards, &device);
}

/* IPv4's, and IPv6's behind a router alert. A bridge that does not hear who listens floods. */
static __always_inline bool is_report(struct __sk_buff *skb, const struct packet *packet)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return packet->protocol == IPPROTO_IGMP;
	return packet->protocol == HOP_BY_HOP && is_link_multicast(&packet->to);
}

static __always_inline enum reason
judge_plain(struct __sk_buff *skb, const struct session *session, __u64 netns, struct packet *packet)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct inbound *inbound;
	struct peer peer = {};
	__u8 type = 0;

	if (packet->protocol == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, packet->body, &type, sizeof(type)))
			return REASON_PACKET;
		if (is_neighbour_type(type) || type == ROUTER_SOLICITATION)
			return claims_own(skb, session, packet, type) ? judge_neighbour(skb, netns, packet, now) : REASON_SPOOFED;
	}
	if (!is_assigned(session, &packet->from))
		return REASON_SPOOFED;
	if (packet->fragment)
		return REASON_PACKET;
	if (!read_peer(skb, packet, &peer))
		return REASON_UNSOLICITED;
	if (packet->syn && !packet->ack)
		return REASON_UNSOLICITED;
	inbound = inbound_of(netns, &peer, now);
	if (!inbound)
		return REASON_UNSOLICITED;
	if (packet->protocol == IPPROTO_TCP)
		follow_answer(inbound, packet, now);
	else
		touch(inbound, now);
	return REASON_PASS;
}

static __always_inline enum reason judge_out(struct __sk_buff *skb, struct request *request)
{
	struct guard *guard = guard_of(skb);
	struct session *session = guard ? session_of(guard->netns) : NULL;
	struct packet packet = {};
	enum reason reason;
	bool plain;

	if (!guard || !session)
		return REASON_SESSION;
	request->netns = guard->netns;
	if (skb->vlan_present)
		return REASON_FRAME;
	if (!is_own_frame(skb, guard))
		return REASON_SPOOFED;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return judge_arp(skb, session);
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return REASON_FRAME;
	plain = read_packet(skb, ETH_HLEN, &packet);
	request->origin.to = packet.to;
	request->protocol = packet.protocol;
	if (!plain)
		return is_report(skb, &packet) ? REASON_MEMBERSHIP : REASON_PACKET;
	reason = judge_plain(skb, session, guard->netns, &packet);
	request->origin.port = packet.to_port;
	return reason;
}

SEC("tc")
int from_pod(struct __sk_buff *ctx)
{
	struct request request = {};
	enum reason reason = judge_out(ctx, &request);

	if (reason == REASON_PASS)
		return NEXT;
	record(&request, reason);
	return DROP;
}

/* The flow that a packet to the pod begins or belongs to; false if it can be neither. */
static __always_inline bool
read_inbound(struct __sk_buff *skb, const struct session *session, struct packet *packet, struct peer *peer)
{
	struct icmp icmp;

	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) {
		if (!is_assigned(session, &packet->to) || !read_ports(skb, packet))
			return false;
		peer->port = packet->from_port;
		peer->own_port = packet->to_port;
	} else if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, packet->body, &icmp, sizeof(icmp)))
			return false;
		if (packet->protocol == IPPROTO_ICMPV6 && is_neighbour_type(icmp.type) && packet->hops == NEIGHBOUR_HOPS) {
			*peer = neighbour(&packet->from);
			return !is_unspecified(&packet->from);
		}
		if (icmp.type != (packet->protocol == IPPROTO_ICMP ? ICMP_ECHO : ICMPV6_ECHO))
			return false;
		if (!is_assigned(session, &packet->to))
			return false;
		peer->port = bpf_ntohs(icmp.identifier);
		peer->own_port = icmp.type;
	} else {
		return false;
	}
	peer->address = packet->from;
	peer->protocol = packet->protocol;
	return true;
}

/* A SYN begins a flow, and begins it again where the last one is over or never came to be. */
static __always_inline enum reason judge_in(struct __sk_buff *skb, struct request *request)
{
	struct guard *guard = guard_of(skb);
	struct session *session = guard ? session_of(guard->netns) : NULL;
	struct packet packet = {};
	struct inbound *inbound;
	struct peer peer = {};
	bool begins;
	__u64 now;

	if (!guard || !session || skb->vlan_present || !read_packet(skb, ETH_HLEN, &packet))
		return REASON_PASS;
	if (!read_inbound(skb, session, &packet, &peer))
		return REASON_PASS;
	request->netns = guard->netns;
	request->protocol = packet.protocol;
	request->origin.to = packet.from;
	request->origin.port = packet.from_port;
	now = bpf_ktime_get_boot_ns();
	inbound = inbound_of(guard->netns, &peer, now);
	begins = packet.protocol != IPPROTO_TCP || (packet.syn && !packet.ack && !packet.rst && !packet.fin);
	if (inbound && (packet.protocol != IPPROTO_TCP || !begins || life_of(&peer, inbound) == ESTABLISHED_LIFE)) {
		if (packet.protocol == IPPROTO_TCP)
			follow_peer(inbound, &packet, now);
		else
			touch(inbound, now);
		return REASON_PASS;
	}
	return begins ? note(guard, &peer, now) : REASON_PASS;
}

SEC("tc")
int to_pod(struct __sk_buff *ctx)
{
	struct request request = {};
	enum reason reason = judge_in(ctx, &request);

	if (reason == REASON_PASS)
		return NEXT;
	record(&request, reason);
	return DROP;
}

/* bpf_skb_load_bytes and others are for GPL-compatible programs only. */
char _license[] SEC("license") = "GPL";
