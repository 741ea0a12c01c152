/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few fields of the kernel's own structures that the guard of unix sockets needs. Where they are in this kernel is
 * found by name when the programs are loaded, from the kernel's own description (/sys/kernel/btf/vmlinux).
 */
#ifndef PHANTOM_KERNEL_H
#define PHANTOM_KERNEL_H

#include "uapi.h"

enum { AF_UNIX = 1, AF_NETLINK = 16, NETLINK_ROUTE = 0 };

enum { UNIX_PATH = 108 }; /* sun_path */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock;

struct socket {
	struct sock *sk;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct dentry {
	struct dentry *d_parent;
	struct inode *d_inode;
};

struct path {
	struct dentry *dentry;
};

struct sockaddr_un {
	__u16 sun_family;
	char sun_path[UNIX_PATH];
};

struct unix_address {
	int len; /* of name: family and path */
	struct sockaddr_un name[];
};

struct unix_sock {
	struct unix_address *addr;
	struct path path;
};

#pragma clang attribute pop

/* READ copies a field by name; a pointer that is not there reads as zeros. */
#define READ(to, from, field)                                                                            \
	bpf_probe_read_kernel(to, sizeof(*(to)), (const void *)__builtin_preserve_access_index(&(from)->field))

#endif
