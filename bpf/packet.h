/* SPDX-License-Identifier: GPL-2.0-only */
/* A packet's addresses and ports. egress runs before fragmentation, so a datagram is always whole there. */
#ifndef PHANTOM_PACKET_H
#define PHANTOM_PACKET_H

#include <linux/tcp.h>

#include "address.h"

enum { IP_OFFSET_MASK = 0x1fff, IP_MORE_FRAGMENTS = 0x2000, IP_PLAIN_HEADER_WORDS = 5 };

struct packet {
	struct address from;
	struct address to;
	__u32 protocol;  /* IPPROTO_* */
	__u32 body;      /* where TCP, UDP or ICMP begins */
	__u16 from_port; /* host order */
	__u16 to_port;
	__u8 hops;       /* left */
	bool fragment;   /* the first one; others are not read */
	bool syn, ack, fin, rst;
	__u32 sequence;
	__u32 acknowledgement;
};

/* Options are refused: an unprivileged LSRR option would put another address in front of the one that was judged. */
static __always_inline bool read_packet4(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4)
		return false;
	packet->from = mapped(ip.saddr);
	packet->to = mapped(ip.daddr);
	packet->protocol = ip.protocol;
	packet->hops = ip.ttl;
	packet->fragment = ip.frag_off & bpf_htons(IP_MORE_FRAGMENTS);
	packet->body = at + sizeof(ip);
	return ip.ihl == IP_PLAIN_HEADER_WORDS && !(ip.frag_off & bpf_htons(IP_OFFSET_MASK));
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
static __always_inline bool is_jumbo_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct jumbo jumbo;

	if (bpf_skb_load_bytes(skb, packet->body, &jumbo, sizeof(jumbo)))
		return false;
	if (jumbo.words || jumbo.type != OPTION_JUMBO || jumbo.length != OPTION_JUMBO_LENGTH || jumbo.next != IPPROTO_TCP)
		return false;
	packet->protocol = IPPROTO_TCP;
	packet->body += sizeof(jumbo);
	return true;
}

/* Other extension headers are refused: an unprivileged IPV6_RTHDR does in IPv6 what LSRR does in IPv4. */
static __always_inline bool read_packet6(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return false;
	if (ip.version != 6)
		return false;
	__builtin_memcpy(&packet->from, &ip.saddr, sizeof(packet->from));
	__builtin_memcpy(&packet->to, &ip.daddr, sizeof(packet->to));
	packet->protocol = ip.nexthdr;
	packet->hops = ip.hop_limit;
	packet->body = at + sizeof(ip);
	return ip.nexthdr != HOP_BY_HOP || is_jumbo_tcp(skb, packet);
}

/* at is where the IP header begins. False for everything but IP without options, and for all of a datagram's fragments
 * but the first. */
static __always_inline bool read_packet(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_packet4(skb, at, packet);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return read_packet6(skb, at, packet);
	return false;
}

static __always_inline bool read_udp(struct __sk_buff *skb, struct packet *packet)
{
	struct udphdr udp;

	if (bpf_skb_load_bytes(skb, packet->body, &udp, sizeof(udp)))
		return false;
	packet->from_port = bpf_ntohs(udp.source);
	packet->to_port = bpf_ntohs(udp.dest);
	return true;
}

static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(skb, packet->body, &tcp, sizeof(tcp)))
		return false;
	packet->from_port = bpf_ntohs(tcp.source);
	packet->to_port = bpf_ntohs(tcp.dest);
	packet->syn = tcp.syn;
	packet->ack = tcp.ack;
	packet->fin = tcp.fin;
	packet->rst = tcp.rst;
	packet->sequence = bpf_ntohl(tcp.seq);
	packet->acknowledgement = bpf_ntohl(tcp.ack_seq);
	return true;
}

/* False for everything but TCP and UDP. */
static __always_inline bool read_ports(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return read_udp(skb, packet);
	return packet->protocol == IPPROTO_TCP && read_tcp(skb, packet);
}

#endif
