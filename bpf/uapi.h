/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's interface as its UAPI headers give it; no vmlinux.h, so nothing here depends on one kernel's layout. */
#ifndef PHANTOM_UAPI_H
#define PHANTOM_UAPI_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Of libc's headers, which do not compile for BPF; the same on every architecture but MIPS. */
enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	SOL_IP = IPPROTO_IP,
	SOL_IPV6 = IPPROTO_IPV6,
	SO_ORIGINAL_DST = 80, /* IP6T_SO_ORIGINAL_DST has the same number */
};

/* Every namespace's lo has index 1: the kernel registers it first (net/core/dev.c, LOOPBACK_IFINDEX). */
enum { LOOPBACK_IFINDEX = 1 };

enum { DNS_PORT = 53 };

/*
 * LOAD reads one 32-bit context field in a single instruction. Written as plain C, clang merges the loads of two
 * branches into one load through a computed pointer, which the verifier rejects ("dereference of modified ctx ptr").
 */
#define LOAD(context, field)                                                                   \
	({                                                                                     \
		__u32 loaded;                                                                  \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                          \
			     : "=r"(loaded)                                                    \
			     : "r"(context), "i"(__builtin_offsetof(typeof(*(context)), field))); \
		loaded;                                                                        \
	})

/*
 * The legacy object serves kernels below 6.1: bpf_set_retval does not exist for these hooks (every refusal is EPERM)
 * and, below 5.15, sock_ops cannot name its namespace (so there is one session, at key 0).
 */
#ifdef LEGACY
#define set_errno(error) ((void)(error))
#define netns_of(context) ((__u64)0)
#else
#define set_errno(error) bpf_set_retval(-(error))
#define netns_of(context) bpf_get_netns_cookie(context)
#endif

#endif
