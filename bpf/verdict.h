/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules. Each takes facts and returns a reason; none knows a context, a return code or an errno. */
#ifndef PHANTOM_VERDICT_H
#define PHANTOM_VERDICT_H

#include "inbound.h"
#include "reason.h"
#include "request.h"
#include "session.h"

/* {TCP, UDP} x {IPv4, IPv6}. The rest (UDP-Lite, SCTP, ping, SMC) skips the connect hook; MPTCP loses its storage. */
static __always_inline enum reason judge_socket(__u32 family, __u32 type, __u32 protocol)
{
	if (family != AF_INET && family != AF_INET6)
		return REASON_PROTOCOL;
	if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
		return REASON_PASS;
	if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
		return REASON_PASS;
	return REASON_PROTOCOL;
}

/* What a pod may send by its interfaces: answers. Without a fence that would know, nftables judges. */
static __always_inline bool may_leave(const struct session *session, const struct request *request)
{
	struct peer peer = {
		.address = request->origin.to,
		.port = request->origin.port,
		.own_port = request->own_port,
		.protocol = request->protocol,
	};

	if (!is_pod(session))
		return false;
	return session->unfenced || inbound_of(request->netns, &peer, bpf_ktime_get_boot_ns());
}

/* Straight to the DNS stub of a pod, which answers on a port of its own what nftables sends there from port 53. */
static __always_inline bool is_stub(const struct session *session, const struct origin *origin)
{
	return is_pod(session) && session->stub_port && origin->port == session->stub_port && is_own(session, &origin->to);
}

static __always_inline bool is_elsewhere(const struct request *request)
{
	return request->device && request->device != LOOPBACK_IFINDEX;
}

/* A UDP connect() sends nothing, and every getaddrinfo makes one per address: it passes, the datagram is judged. */
static __always_inline enum reason judge_connect(const struct session *session, const struct request *request)
{
	const struct origin *origin = &request->origin;
	const struct address *listener;

	if (!session)
		return REASON_SESSION;
	if (is_elsewhere(request))
		return request->protocol == IPPROTO_UDP && may_leave(session, request) ? REASON_PASS : REASON_DEVICE;
	if (request->protocol == IPPROTO_UDP)
		return is_stub(session, origin) ? REASON_LISTENER : REASON_PASS;
	if (request->protocol != IPPROTO_TCP)
		return REASON_PROTOCOL;
	if (is_stub(session, origin))
		return REASON_LISTENER;
	if (is_own(session, &origin->to))
		return origin->port == session->port ? REASON_LISTENER : REASON_PASS;
	if (origin->port == DNS_PORT)
		return REASON_PASS;
	listener = is_mapped(&origin->to) ? &session->listener4 : &session->listener6;
	if (!is_unspecified(listener) && is_declared(request->netns, &origin->to))
		return REASON_REDIRECT;
	return REASON_UNDECLARED;
}

static __always_inline bool stays(const struct session *session, const struct origin *origin)
{
	return is_own(session, &origin->to) || origin->port == DNS_PORT;
}

static __always_inline enum reason judge_datagram(const struct session *session, const struct request *request)
{
	const struct origin *origin = &request->origin;

	if (!session)
		return REASON_SESSION;
	if (is_elsewhere(request))
		return may_leave(session, request) ? REASON_PASS : REASON_DEVICE;
	if (is_stub(session, origin))
		return REASON_LISTENER;
	if (stays(session, origin))
		return REASON_PASS;
	return may_leave(session, request) ? REASON_PASS : REASON_UDP;
}

/* A datagram on lo. nftables has rewritten what it sends to the stub, so that port is no business of this rule. */
static __always_inline enum reason judge_local(const struct session *session, const struct request *request)
{
	return session ? (stays(session, &request->origin) ? REASON_PASS : REASON_UDP) : REASON_SESSION;
}

/* A packet on another interface; starts: it opens a connection, which connect() would have rewritten. */
static __always_inline enum reason
judge_departure(const struct session *session, const struct request *request, bool plain, bool starts)
{
	if (!session || !is_pod(session))
		return REASON_INTERFACE;
	if (session->unfenced)
		return REASON_PASS;
	if (!plain)
		return REASON_PACKET;
	return !starts && may_leave(session, request) ? REASON_PASS : REASON_INTERFACE;
}

#endif
