/* SPDX-License-Identifier: GPL-2.0-only */
/* The destination of an outgoing packet. egress runs before fragmentation, so a datagram is always whole here. */
#ifndef PHANTOM_PACKET_H
#define PHANTOM_PACKET_H

#include "request.h"

enum { IP_OFFSET_MASK = 0x1fff, IP_PLAIN_HEADER_WORDS = 5 };

static __always_inline bool read_port(struct __sk_buff *skb, __u32 offset, struct request *request)
{
	struct udphdr udp;

	if (request->protocol != IPPROTO_UDP)
		return request->protocol == IPPROTO_TCP;
	if (bpf_skb_load_bytes(skb, offset, &udp, sizeof(udp)))
		return false;
	request->origin.port = bpf_ntohs(udp.dest);
	return true;
}

/* Options are refused: an unprivileged LSRR option would put another address in front of the one that was judged. */
static __always_inline bool read_packet4(struct __sk_buff *skb, struct request *request)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4 || ip.ihl != IP_PLAIN_HEADER_WORDS || (ip.frag_off & bpf_htons(IP_OFFSET_MASK)))
		return false;
	request->origin.to = mapped(ip.daddr);
	request->protocol = ip.protocol;
	return read_port(skb, sizeof(ip), request);
}

/* What TCP puts in front of a segment batch of more than 64 KiB, which lo carries (RFC 2675, BIG TCP). */
struct jumbo {
	__u8 next;
	__u8 words; /* of 8 bytes, beyond the first */
	__u8 type;
	__u8 length;
	__be32 payload;
};

enum { HOP_BY_HOP = 0, OPTION_JUMBO = 0xc2, OPTION_JUMBO_LENGTH = 4 };

/* True for the kernel's own jumbo header before TCP; the protocol is then TCP. */
static __always_inline bool is_jumbo_tcp(struct __sk_buff *skb, struct request *request)
{
	struct jumbo jumbo;

	if (bpf_skb_load_bytes(skb, sizeof(struct ipv6hdr), &jumbo, sizeof(jumbo)))
		return false;
	if (jumbo.words || jumbo.type != OPTION_JUMBO || jumbo.length != OPTION_JUMBO_LENGTH || jumbo.next != IPPROTO_TCP)
		return false;
	request->protocol = IPPROTO_TCP;
	return true;
}

/* Other extension headers are refused: an unprivileged IPV6_RTHDR does in IPv6 what LSRR does in IPv4. */
static __always_inline bool read_packet6(struct __sk_buff *skb, struct request *request)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return false;
	if (ip.version != 6)
		return false;
	__builtin_memcpy(&request->origin.to, &ip.daddr, sizeof(request->origin.to));
	request->protocol = ip.nexthdr;
	if (ip.nexthdr == HOP_BY_HOP)
		return is_jumbo_tcp(skb, request);
	return read_port(skb, sizeof(ip), request);
}

/* False for everything but plain TCP and UDP. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct request *request)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_packet4(skb, request);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return read_packet6(skb, request);
	return false;
}

#endif
