/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules at the host's end of a pod's link. Whoever is root in the pod can make any frame; these see all of them. */
#ifndef PHANTOM_FENCE_H
#define PHANTOM_FENCE_H

#include "inbound.h"
#include "packet.h"
#include "session.h"

/* A guarded device. */
struct guard {
	__u64 netns; /* of the pod at the other end */
	__u64 swept; /* CLOCK_BOOTTIME, ns */
	__u64 hardware; /* the pod's address on the link, as its bytes come; 0: not known yet, see Go's Guard */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* ifindex */
	__type(value, struct guard);
} guards SEC(".maps");

/* Of headers that do not compile for BPF, or are not the kernel's. */
enum {
	ARP_ETHERNET = 1,
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
	ICMP_ECHO_REPLY = 0,
	ICMP_UNREACHABLE = 3,
	ICMP_ECHO = 8,
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_ECHO = 128,
	ICMPV6_ECHO_REPLY = 129,
	ROUTER_SOLICITATION = 133,
	NEIGHBOUR_SOLICITATION = 135,
	NEIGHBOUR_ADVERTISEMENT = 136,
	NEIGHBOUR_HOPS = 255, /* RFC 4861 7.1: what came through a router has less */
};

/* Of both families; the identifier is an echo's. */
struct icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 identifier;
	__be16 sequence;
};

/* Ethernet's ARP for IPv4, whole. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_hardware[ETH_ALEN];
	__u8 sender[4];
	__u8 target_hardware[ETH_ALEN];
	__u8 target[4];
} __attribute__((packed));

/* For a pod's own addresses, and no byte longer: padding is room for a message to the neighbours. */
static __always_inline enum reason judge_arp(struct __sk_buff *skb, const struct session *session)
{
	struct address sender;
	struct arp arp;
	__be32 ip;

	if (skb->len != ETH_HLEN + sizeof(arp) || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return REASON_FRAME;
	if (arp.hardware != bpf_htons(ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_length != ETH_ALEN || arp.protocol_length != sizeof(ip))
		return REASON_FRAME;
	if (arp.operation != bpf_htons(ARP_REQUEST) && arp.operation != bpf_htons(ARP_REPLY))
		return REASON_FRAME;
	__builtin_memcpy(&ip, arp.sender, sizeof(ip));
	sender = mapped(ip);
	/* 0.0.0.0: is the address taken? (RFC 5227) */
	return !ip || is_assigned(session, &sender) ? REASON_PASS : REASON_SPOOFED;
}

/* A bridge brings whose address it saw here last: with another pod's, what is for that one. */
static __always_inline bool is_own_frame(struct __sk_buff *skb, const struct guard *guard)
{
	__u64 source = 0;

	if (!guard->hardware)
		return true;
	return !bpf_skb_load_bytes(skb, ETH_ALEN, &source, ETH_ALEN) && source == guard->hardware;
}

static __always_inline bool is_link_local(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* ff02::/16 */
static __always_inline bool is_link_multicast(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000);
}

/* The longest message of discovery that is needed: a target and one link-layer address. */
struct solicitation {
	struct icmp icmp;
	struct address target;
	__u8 option[8];
};

static __always_inline struct peer neighbour(const struct address *address)
{
	return (struct peer){ .address = *address, .own_port = NEIGHBOUR_SOLICITATION, .protocol = IPPROTO_ICMPV6 };
}

/*
 * Neighbour discovery leaves for the link alone: for link-local addresses, and for others that have themselves shown to
 * be on the link. A router would forward what goes elsewhere, whatever its hops.
 */
static __always_inline enum reason
judge_neighbour(struct __sk_buff *skb, __u64 netns, const struct packet *packet, __u64 now)
{
	struct peer peer = neighbour(&packet->to);

	if (packet->hops != NEIGHBOUR_HOPS || skb->len > packet->body + sizeof(struct solicitation))
		return REASON_PACKET;
	if (is_link_multicast(&packet->to) || is_link_local(&packet->to) || inbound_of(netns, &peer, now))
		return REASON_PASS;
	return REASON_UNSOLICITED;
}

static __always_inline bool is_neighbour_type(__u8 type)
{
	return type == NEIGHBOUR_SOLICITATION || type == NEIGHBOUR_ADVERTISEMENT;
}

/*
 * Neighbours believe whoever says where an address is: its sender of its own, in any message; an advertisement of its
 * target, too; and a question without a sender (RFC 4862 5.4.3) keeps its target from whoever is about to have it.
 */
static __always_inline bool
claims_own(struct __sk_buff *skb, const struct session *session, const struct packet *packet, __u8 type)
{
	struct solicitation message;
	bool nobody = is_unspecified(&packet->from);

	if (!nobody && !is_assigned(session, &packet->from))
		return false;
	if (type == ROUTER_SOLICITATION || (type == NEIGHBOUR_SOLICITATION && !nobody))
		return true;
	return !bpf_skb_load_bytes(skb, packet->body, &message, __builtin_offsetof(struct solicitation, option)) &&
	       is_assigned(session, &message.target);
}

/* Ports as the peer's packet had them that a pod's error quotes; false for an error about anything else. */
static __always_inline bool
read_quoted(struct __sk_buff *skb, const struct packet *error, struct packet *quoted)
{
	if (!read_packet(skb, error->body + sizeof(struct icmp), quoted) || !is_equal(&quoted->from, &error->to))
		return false;
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP)
		return false;
	return read_udp(skb, quoted); /* eight bytes are quoted; TCP's ports are where UDP's are */
}

/* Pings are answered, and an error tells a peer about its own packet. */
static __always_inline bool
read_icmp_peer(struct __sk_buff *skb, const struct packet *packet, struct peer *peer)
{
	bool four = packet->protocol == IPPROTO_ICMP;
	struct packet quoted = {};
	struct icmp icmp;

	if (bpf_skb_load_bytes(skb, packet->body, &icmp, sizeof(icmp)))
		return false;
	peer->address = packet->to;
	if (icmp.type == (four ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY)) {
		peer->port = bpf_ntohs(icmp.identifier);
		peer->own_port = four ? ICMP_ECHO : ICMPV6_ECHO;
		peer->protocol = packet->protocol;
		return true;
	}
	if (icmp.type != (four ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE) || !read_quoted(skb, packet, &quoted))
		return false;
	peer->port = quoted.from_port;
	peer->own_port = quoted.to_port;
	peer->protocol = quoted.protocol;
	return true;
}

static __always_inline bool read_peer(struct __sk_buff *skb, struct packet *packet, struct peer *peer)
{
	if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6)
		return read_icmp_peer(skb, packet, peer);
	if (!read_ports(skb, packet))
		return false;
	peer->address = packet->to;
	peer->port = packet->to_port;
	peer->own_port = packet->from_port;
	peer->protocol = packet->protocol;
	return true;
}

static __always_inline void touch(struct inbound *inbound, __u64 now)
{
	if (now - inbound->seen > SECOND / 4) /* a store for each packet would move the line between processors */
		inbound->seen = now;
}

/*
 * The pod's half of a connection. After a reset nothing more comes of it but what crossed the reset on its way: what
 * comes later says that the reset was forged.
 */
static __always_inline void follow_answer(struct inbound *inbound, const struct packet *packet, __u64 now)
{
	if (inbound->reset && now - inbound->seen < SECOND)
		return;
	inbound->reset = packet->rst;
	touch(inbound, now);
	if (packet->syn) {
		inbound->acknowledgement = packet->sequence + 1;
		inbound->answered = true;
	}
	if (packet->fin)
		inbound->pod_ended = true;
}

/* How far the peer's first number may be ahead of the handshake's: an answer to Fast Open has data already. */
enum { FIRST_WINDOW = 65536 };

static __always_inline void follow_peer(struct inbound *inbound, const struct packet *packet, __u64 now)
{
	touch(inbound, now);
	if (packet->ack && inbound->answered && packet->acknowledgement - inbound->acknowledgement < FIRST_WINDOW)
		inbound->established = true;
	if (packet->fin)
		inbound->peer_ended = true;
	if (packet->rst) {
		inbound->seen = now;
		inbound->reset = true;
	}
}

struct sweep {
	__u64 now;
};

struct bpf_map;

static long sweep_one(struct bpf_map *flows, const struct peer *peer, struct inbound *inbound, struct sweep *sweep)
{
	if (is_over(peer, inbound, sweep->now))
		bpf_map_delete_elem(flows, peer);
	return 0;
}

/* Notes a new flow. A full table is swept, at most once a second: it is 16384 steps. */
static __always_inline enum reason note(struct guard *guard, const struct peer *peer, __u64 now)
{
	void *flows = bpf_map_lookup_elem(&inbounds, &guard->netns);
	struct inbound fresh = { .seen = now };
	struct sweep sweep = { .now = now };

	if (!flows)
		return REASON_FLOWS;
	if (!bpf_map_update_elem(flows, peer, &fresh, BPF_ANY))
		return REASON_PASS;
	if (now - guard->swept < SECOND)
		return REASON_FLOWS;
	guard->swept = now;
	bpf_for_each_map_elem(flows, sweep_one, &sweep, 0);
	return bpf_map_update_elem(flows, peer, &fresh, BPF_ANY) ? REASON_FLOWS : REASON_PASS;
}

#endif
