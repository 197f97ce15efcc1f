/* balance-aware: flows that follow their slots, when that puts nothing out of order.
 *
 * A flow keeps the slot that it began in. When another path has that slot, the flow
 * goes there as soon as its last packet must have arrived before the next one can:
 * after a silence of what the old path takes at most less what the new one takes at
 * least. The packets between two silences are a flowlet.
 *
 * Its word of the cache (see flows.h) has, from the top: 24 bits of the hash, turned
 * over, so that no word of balance-xor is taken for one; when the last packet passed,
 * 25 bits of 2^20 ns, which is 10 hours; slot, 8 bits; number of the path in the bond.
 */
#ifndef MPBOND_FLOWLETS_H
#define MPBOND_FLOWLETS_H

#include "flows.h"

/* How far the coarse clock may be behind: clock_getres() has it, at most 10 ms. */
#ifndef MPB_COARSE_NS
#define MPB_COARSE_NS 10000000
#endif

#define TICK_SHIFT 20 /* a tick is 2^20 ns, about a millisecond */
#define TICKS_OF_SECOND_SHIFT (SEEN_SHIFT - TICK_SHIFT)
#define FLOWLET_TAG_SHIFT 40
#define FLOWLET_TICK_SHIFT 15
#define FLOWLET_TICK_MASK ((1U << (FLOWLET_TAG_SHIFT - FLOWLET_TICK_SHIFT)) - 1)
#define FLOWLET_SLOT_SHIFT 7
/* What changes from packet to packet: the tick within the second. */
#define FLOWLET_SUBSECOND (((1ULL << TICKS_OF_SECOND_SHIFT) - 1) << FLOWLET_TICK_SHIFT)

_Static_assert(MPB_MAX_BOND_PATHS == 1 << FLOWLET_SLOT_SHIFT, "a path's number fills the lowest bits");
_Static_assert(MPB_SLOTS == 1 << (FLOWLET_TICK_SHIFT - FLOWLET_SLOT_SHIFT), "a slot fills the next");

/* A flow of balance-aware, as it is when a packet of it comes. */
struct flowlet {
	__u64 hash;
	__u64 now;  /* in ticks */
	__u64 idle; /* ticks since the last packet; never too many, but for rounding */
	__u32 path; /* MPB_NO_PATH: the flow is new */
	__u32 slot;
	__u32 first_path; /* of the bond */
};

static __always_inline __u64 ticks_now(void)
{
	return coarse_ns() >> TICK_SHIFT;
}

static __always_inline __u64 flowlet_word(struct flowlet *flow)
{
	__u64 tag = ~flow->hash >> FLOWLET_TAG_SHIFT << FLOWLET_TAG_SHIFT;
	__u32 number = (flow->path - flow->first_path) & (MPB_MAX_BOND_PATHS - 1);

	return tag | (flow->now & FLOWLET_TICK_MASK) << FLOWLET_TICK_SHIFT |
	       (flow->slot & (MPB_SLOTS - 1)) << FLOWLET_SLOT_SHIFT | number;
}

/* By the map: where the word is of another flow, its second tells how long it was
 * silent at least. */
static __always_inline void flowlet_look_up(struct flowlet *flow)
{
	struct mpb_flow *kept = flow_get(&flow->hash);
	__u64 second_end;

	if (!kept) {
		flow->path = MPB_NO_PATH;
		return;
	}
	flow->path = kept->path;
	flow->slot = kept->slot & (MPB_SLOTS - 1);
	second_end = ((__u64)kept->seen_s + 1) << TICKS_OF_SECOND_SHIFT;
	if (!flow->idle && flow->now > second_end)
		flow->idle = flow->now - second_end;
}

/* Fills in path, slot and idle of the flow with this hash. */
static __always_inline void flowlet_find(struct flowlet *flow)
{
	__u64 *cached = flow_cache_get(flow->hash);
	__u64 word = cached ? *cached : 0;

	flow->idle = 0;
	if (cached && (word ^ ~flow->hash) >> FLOWLET_TAG_SHIFT == 0) {
		__u32 last = (word >> FLOWLET_TICK_SHIFT) & FLOWLET_TICK_MASK;

		flow->idle = (flow->now - last) & FLOWLET_TICK_MASK;
		flow->path = flow->first_path + (word & (MPB_MAX_BOND_PATHS - 1));
		flow->slot = (word >> FLOWLET_SLOT_SHIFT) & (MPB_SLOTS - 1);
		if (((flow->now ^ last) & FLOWLET_TICK_MASK) >> TICKS_OF_SECOND_SHIFT == 0)
			return;
	}
	flowlet_look_up(flow);
}

static __always_inline void flowlet_remember(struct flowlet *flow)
{
	__u64 *cached = flow_cache_get(flow->hash);
	__u64 word = flowlet_word(flow);
	__u64 old = cached ? *cached : 0;

	if (cached && old == word)
		return;
	if (cached)
		*cached = word;
	if (!cached || (old ^ word) & ~FLOWLET_SUBSECOND)
		flow_keep(&flow->hash, flow->path, flow->slot, flow->now >> TICKS_OF_SECOND_SHIFT);
}

/* Has everything sent over `from` arrived before a packet sent now over `to` can?
 * Two readings of the coarse clock are a tick and its step off at worst. */
static __always_inline int silent_long_enough(struct flowlet *flow, struct mpb_path *from,
					      struct mpb_path *to)
{
	__s64 needed_ns = ((__s64)from->forward_most_us - to->forward_least_us) * 1000;

	if (needed_ns <= 0)
		return 1;
	return (__s64)(flow->idle << TICK_SHIFT) > needed_ns + MPB_COARSE_NS + (1 << TICK_SHIFT);
}

#endif
