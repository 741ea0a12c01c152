/* SPDX-License-Identifier: GPL-2.0-only */
/* Unix sockets: which the session made, which are exposed to it, and what a refused one is called. */
#ifndef PHANTOM_PEER_H
#define PHANTOM_PEER_H

#include "kernel.h"
#include "ledger.h"

/* Cookie of the session's namespace, or 0 beside the legacy object: the key of its ledger. */
const volatile __u64 session = 0;

/* Sockets that were made. It tells that the kernel calls these programs, which it does not where they attach for nothing. */
__u64 made = 0;

/* On every unix socket that a process of the session's cgroup made. It goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u8);
} ours SEC(".maps");

/*
 * A file or folder. The device is the file system's own number, which mountinfo says; stat(2) is told another one by btrfs,
 * whose subvolumes share the one, and can share the inode.
 */
struct place {
	__u64 inode;
	__u64 device;
};

/* What the policy exposes: a socket at one of these, or below, may be reached though somebody else made it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct place);
	__type(value, __u8);
} exposed SEC(".maps");

/* A denial with the socket's name, in the same ring: its length tells. */
struct unix_denial {
	struct denial denial;
	__u32 length; /* of path */
	char path[UNIX_PATH];
};

const struct unix_denial *const unix_denial_type __attribute__((unused)) = NULL;

static __always_inline bool is_ours(struct sock *sk)
{
	return bpf_sk_storage_get(&ours, sk, 0, 0) != NULL;
}

static __always_inline bool is_place(struct dentry *dentry)
{
	struct super_block *super = NULL;
	struct inode *inode = NULL;
	struct place place = {};
	unsigned long number = 0;
	__u32 device = 0;

	READ(&inode, dentry, d_inode);
	if (!inode)
		return false;
	READ(&number, inode, i_ino);
	READ(&super, inode, i_sb);
	READ(&device, super, s_dev);
	place.inode = number;
	place.device = device;
	return bpf_map_lookup_elem(&exposed, &place) != NULL;
}

/* A socket that is deeper below what is exposed than that is not taken for exposed. */
enum { DEPTH = 24 };

static __always_inline bool is_exposed(struct unix_sock *sk)
{
	struct dentry *dentry = NULL, *parent = NULL;

	READ(&dentry, sk, path.dentry);
	for (int i = 0; i < DEPTH && dentry; i++) {
		if (is_place(dentry))
			return true;
		parent = NULL;
		READ(&parent, dentry, d_parent);
		if (parent == dentry)
			return false;
		dentry = parent;
	}
	return false;
}

/* The name that the socket was bound to, which its maker chose. */
static __always_inline void read_name(struct unix_sock *sk, struct unix_denial *denial)
{
	struct unix_address *address = NULL;
	int length = 0;

	READ(&address, sk, addr);
	READ(&length, address, len);
	if (length <= (int)sizeof(__u16))
		return;
	length -= sizeof(__u16);
	denial->length = length < UNIX_PATH ? length : UNIX_PATH;
	READ(&denial->path, address, name[0].sun_path);
}

static __always_inline void record_peer(const struct request *request, struct unix_sock *sk)
{
	struct unix_denial denial = {};
	struct ledger *ledger = ledger_of(request->netns);

	if (!ledger || !count(ledger, request, REASON_UNIX, &denial.denial))
		return;
	read_name(sk, &denial);
	if (bpf_ringbuf_output(&denials, &denial, sizeof(denial), 0))
		keep_suppressed(ledger, REASON_UNIX, denial.denial.suppressed + 1);
}

/* Families that stay inside the namespace, and of netlink routes alone, which getaddrinfo asks. */
static __always_inline enum reason judge_family(__u32 family, __u32 protocol)
{
	if (family == AF_UNIX || family == AF_INET || family == AF_INET6)
		return REASON_PASS;
	if (family == AF_NETLINK && protocol == NETLINK_ROUTE)
		return REASON_PASS;
	return REASON_FAMILY;
}

#endif
