/* SPDX-License-Identifier: GPL-2.0-only */
/* What happened: a count per session and reason, and a bounded stream of denials. */
#ifndef PHANTOM_LEDGER_H
#define PHANTOM_LEDGER_H

#include "reason.h"
#include "request.h"

/* Per session and reason. At that rate, and 96 bytes each with their headers, one reason takes 42 s to fill the ring. */
enum { DENIALS_PER_SECOND = 64 };

#define SECOND 1000000000ULL

struct window {
	__u64 since; /* CLOCK_BOOTTIME, ns */
	__u32 told;
	__u32 suppressed;
};

/* The lock is a session's own, so that no session can make another wait. */
struct ledger {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__u64 counts[REASONS];
	struct window windows[REASONS];
};

/* Key 0 counts for namespaces that are no session; in the legacy object it is the session. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1025);
	__type(key, __u64);
	__type(value, struct ledger);
} ledgers SEC(".maps");

struct denial {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u64 netns;
	struct origin origin;
	enum reason reason;
	__u32 protocol;   /* of REASON_FAMILY, the family */
	__u32 suppressed; /* denials of this session and reason that were not told since the last one that was */
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} denials SEC(".maps");

/* Keeps struct denial in the object's BTF, from which the Go type is made; const, so that it needs no .bss. */
const struct denial *const denial_type __attribute__((unused)) = NULL;

static __always_inline struct ledger *ledger_of(__u64 netns)
{
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &netns);
	__u64 strangers = 0;

	return ledger ? ledger : bpf_map_lookup_elem(&ledgers, &strangers);
}

/* Counts one event; true if it may be told, with the number of those that were not. */
static __always_inline bool enter(struct ledger *ledger, __u32 reason, __u64 now, __u32 *suppressed)
{
	struct window *window;
	bool told = false;

	if (reason >= REASONS)
		return false;
	window = &ledger->windows[reason];
	bpf_spin_lock(&ledger->lock);
	ledger->counts[reason]++;
	if (now - window->since >= SECOND) {
		window->since = now;
		window->told = 0;
	}
	if (window->told < DENIALS_PER_SECOND) {
		window->told++;
		*suppressed = window->suppressed;
		window->suppressed = 0;
		told = true;
	} else {
		window->suppressed++;
	}
	bpf_spin_unlock(&ledger->lock);
	return told;
}

/* The ring was full: this denial, and those it would have reported, count as suppressed. */
static __always_inline void keep_suppressed(struct ledger *ledger, __u32 reason, __u32 suppressed)
{
	if (reason >= REASONS)
		return;
	bpf_spin_lock(&ledger->lock);
	ledger->windows[reason].suppressed += suppressed;
	bpf_spin_unlock(&ledger->lock);
}

/* What refuses is told, but for what a pod's kernel sends by itself for every address it has. */
static __always_inline bool is_news(enum reason reason)
{
	return errno_of(reason) && reason != REASON_MEMBERSHIP;
}

/* Counts what is recorded; true if it is to be told too, and then the denial says what. */
static __always_inline bool
count(struct ledger *ledger, const struct request *request, enum reason reason, struct denial *denial)
{
	denial->time = bpf_ktime_get_boot_ns();
	if (!enter(ledger, reason, denial->time, &denial->suppressed) || !is_news(reason))
		return false;
	denial->netns = request->netns;
	denial->origin = request->origin;
	denial->reason = reason;
	denial->protocol = request->protocol;
	return true;
}

/* Passes are not counted: egress alone would count every packet. */
static __always_inline void record(const struct request *request, enum reason reason)
{
	struct denial denial = {};
	struct ledger *ledger;

	if (reason == REASON_PASS)
		return;
	ledger = ledger_of(request->netns);
	if (!ledger || !count(ledger, request, reason, &denial))
		return;
	if (bpf_ringbuf_output(&denials, &denial, sizeof(denial), 0))
		keep_suppressed(ledger, reason, denial.suppressed + 1);
}

#endif
