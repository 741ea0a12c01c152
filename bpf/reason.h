/* SPDX-License-Identifier: GPL-2.0-only */
/* The one table of reasons. Counters, denials, errnos and the Go names all come from it. */
#ifndef PHANTOM_REASON_H
#define PHANTOM_REASON_H

#include "uapi.h"

/*
 * X(name, errno): errno 0 lets the caller go on, any other refuses. Append only: numbers are stored in pinned maps.
 * A refusal in egress is EPERM whatever the row says: the kernel gives cgroup_skb no errno. INFLIGHT and ORPHAN are
 * found in the handshake, too late to refuse; the proxy closes such a connection, and ECONNRESET is what the agent sees.
 * From UNSOLICITED to MEMBERSHIP the rows are the fence's, which drops packets: EPERM is only their sign there. UNIX and
 * FAMILY are the LSM programs', which are there or not on kernels that have an errno to give.
 */
#define REASON_TABLE(X)                                                                            \
	X(PASS, 0)                   /* unchanged: loopback, own address, port 53 */                \
	X(REDIRECT, 0)               /* rewritten to the listener */                                \
	X(ORIGIN, 0)                 /* origin moved into the accepted socket */                    \
	X(SESSION, EACCES)           /* no session for this network namespace */                    \
	X(PROTOCOL, EPROTONOSUPPORT) /* neither TCP nor UDP over IPv4 or IPv6 */                    \
	X(DEVICE, ENETUNREACH)       /* socket bound to a device other than lo */                   \
	X(LISTENER, ECONNREFUSED)    /* straight to the listener, without an origin */              \
	X(UNDECLARED, ECONNREFUSED)  /* TCP to an address neither synthetic nor declared */         \
	X(UDP, ECONNREFUSED)         /* datagram to another host's port other than 53 */            \
	X(STORAGE, ENOMEM)           /* no socket storage (net.core.optmem_max) */                  \
	X(INTERFACE, ENETUNREACH)    /* packet about to leave by an interface other than lo */      \
	X(PACKET, EPERM)             /* packet neither TCP nor UDP, or with header options */       \
	X(INFLIGHT, ECONNRESET)      /* in-flight map full: the connection has no origin */         \
	X(ORPHAN, ECONNRESET)        /* accepted on the listener without an origin */               \
	X(UNSOLICITED, EPERM)        /* from a pod: packet that answers no inbound flow */          \
	X(SPOOFED, EPERM)            /* from a pod: source address is not the pod's */              \
	X(FRAME, EPERM)              /* from a pod: neither plain IPv4, IPv6 nor ARP, or tagged */  \
	X(FLOWS, EPERM)              /* to a pod: new inbound flow, and no room to note it */       \
	X(MEMBERSHIP, EPERM)         /* from a pod: IGMP or MLD report; counted, not told */         \
	X(UNIX, EACCES)              /* to a unix socket that the session did not make */           \
	X(FAMILY, EAFNOSUPPORT)      /* socket of a family that may lead out of the namespace */

#define REASON_ENUMERATOR(name, error) REASON_##name,
#define REASON_ERRNO(name, error) [REASON_##name] = error,

enum reason { REASON_TABLE(REASON_ENUMERATOR) };

#define REASON_ONE(name, error) +1
enum { REASONS = 0 REASON_TABLE(REASON_ONE) };

const volatile __u32 reason_errno[REASONS] = { REASON_TABLE(REASON_ERRNO) };

/* An unknown reason refuses. */
static __always_inline __u32 errno_of(enum reason reason)
{
	__u32 index = reason;

	return index < REASONS ? reason_errno[index] : EPERM;
}

#endif
