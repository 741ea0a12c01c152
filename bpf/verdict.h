/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules. Each takes facts and returns a reason; none knows a context, a return code or an errno. */
#ifndef PHANTOM_VERDICT_H
#define PHANTOM_VERDICT_H

#include "reason.h"
#include "request.h"
#include "session.h"

static __always_inline enum reason judge_stranger(void)
{
	return shared ? REASON_PASS : REASON_SESSION;
}

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

/* A UDP connect() sends nothing, and every getaddrinfo makes one per address: it passes, the datagram is judged. */
static __always_inline enum reason judge_connect(const struct session *session, const struct request *request)
{
	const struct origin *origin = &request->origin;
	const struct address *listener;

	if (!session)
		return judge_stranger();
	if (request->device && request->device != LOOPBACK_IFINDEX)
		return REASON_DEVICE;
	if (request->protocol == IPPROTO_UDP)
		return REASON_PASS;
	if (request->protocol != IPPROTO_TCP)
		return REASON_PROTOCOL;
	if (is_own(session, &origin->to))
		return origin->port == session->port ? REASON_LISTENER : REASON_PASS;
	if (origin->port == DNS_PORT)
		return REASON_PASS;
	listener = is_mapped(&origin->to) ? &session->listener4 : &session->listener6;
	if (!is_unspecified(listener) && is_declared(request->netns, &origin->to))
		return REASON_REDIRECT;
	return REASON_UNDECLARED;
}

static __always_inline enum reason judge_datagram(const struct session *session, const struct request *request)
{
	const struct origin *origin = &request->origin;

	if (!session)
		return judge_stranger();
	if (request->device && request->device != LOOPBACK_IFINDEX)
		return REASON_DEVICE;
	if (is_own(session, &origin->to) || origin->port == DNS_PORT)
		return REASON_PASS;
	return REASON_UDP;
}

#endif
