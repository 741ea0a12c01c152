//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/* For BPF_PROG_RUN: puts the question in a packet to the rules, and returns the reason they give. */
#include "verdict.h"

enum rule { RULE_SOCKET, RULE_CONNECT, RULE_DATAGRAM, RULE_LOCAL, RULE_DEPARTURE };

struct question {
	enum rule rule;
	__u32 family; /* RULE_SOCKET only, as is type */
	__u32 type;
	__u32 known;  /* 0: the namespace is no session */
	__u32 broken; /* RULE_DEPARTURE only, as is starts: the packet is not plain */
	__u32 starts;
	struct session session;
	struct request request;
};

const struct question *const question_type __attribute__((unused)) = NULL;

/* struct bpf_sk_lookup, which Go cannot have made from BTF because its first field may be a pointer. */
struct arrival {
	__u64 cookie; /* out: of the socket that was chosen */
	__u32 family;
	__u32 protocol;
	__u32 remote[5];
	__u32 remote_port;
	__be32 local_ip4;
	struct address local_ip6;
	__u32 local_port;
	__u32 device;
};

_Static_assert(sizeof(struct arrival) == sizeof(struct bpf_sk_lookup), "size");
_Static_assert(__builtin_offsetof(struct arrival, local_ip4) == __builtin_offsetof(struct bpf_sk_lookup, local_ip4), "layout");
_Static_assert(__builtin_offsetof(struct arrival, local_port) == __builtin_offsetof(struct bpf_sk_lookup, local_port), "layout");

const struct arrival *const arrival_type __attribute__((unused)) = NULL;

SEC("tc")
int judge(struct __sk_buff *skb)
{
	struct question question;
	const struct session *session = &question.session;

	if (bpf_skb_load_bytes(skb, 0, &question, sizeof(question)))
		return -1;
	if (question.rule == RULE_SOCKET)
		return judge_socket(question.family, question.type, question.request.protocol);
	if (!question.known)
		session = NULL;
	if (question.rule < RULE_LOCAL && is_stranger(session)) /* egress knows a session's socket without the session */
		return REASON_PASS;
	if (question.rule == RULE_CONNECT)
		return session ? judge_connect(session, &question.request) : judge_connect(NULL, &question.request);
	if (question.rule == RULE_DATAGRAM)
		return session ? judge_datagram(session, &question.request) : judge_datagram(NULL, &question.request);
	if (question.rule == RULE_LOCAL)
		return session ? judge_local(session, &question.request) : judge_local(NULL, &question.request);
	if (question.rule == RULE_DEPARTURE)
		return session ? judge_departure(session, &question.request, !question.broken, question.starts)
			       : judge_departure(NULL, &question.request, !question.broken, question.starts);
	return -1;
}

char _license[] SEC("license") = "GPL";
