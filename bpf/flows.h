/* Where a flow is: the flow map, and a cache in front of it.
 *
 * The map is the truth, but with many flows each look-up in an LRU hash misses the
 * CPU's caches several times. The cache is one 8-byte word per flow, found by its
 * hash alone: upper half of the hash, second last seen, path. A flow that another
 * pushed out of its word is found in the map again. Every flow's entry in the map
 * is touched once a second, which keeps it there. (balance-aware's words say more:
 * flowlets.h.)
 */
#ifndef MPBOND_FLOWS_H
#define MPBOND_FLOWS_H

#include "flow.h"
#include "stats.h"

/* Granularity of a flow's `seen`: 2^30 ns, about a second. */
#define SEEN_SHIFT 30

static __always_inline __u32 flow_now(void)
{
	return (__u32)(coarse_ns() >> SEEN_SHIFT);
}

static __always_inline __u64 flow_word(__u64 hash, __u32 path, __u32 seen)
{
	return (hash & 0xffffffff00000000ULL) | ((seen & 0xffff) << 16) | (path & 0xffff);
}

/* The flow's path; MPB_NO_PATH where it is new. */
static __always_inline __u32 flow_find(__u64 *hash, __u32 seen)
{
	__u64 *cached = flow_cache_get(*hash);
	struct mpb_flow *flow;

	if (cached && (*cached ^ flow_word(*hash, 0, seen)) <= 0xffff)
		return *cached & 0xffff;
	flow = flow_get(hash);
	return flow ? flow->path : MPB_NO_PATH;
}

/* Into the map. */
static __always_inline void flow_keep(__u64 *hash, __u32 path, __u32 slot, __u32 seen)
{
	struct mpb_flow fresh = { .path = path, .slot = slot, .seen_s = seen };
	struct mpb_flow *flow = flow_get(hash);

	if (!flow) {
		flow_put(hash, &fresh);
		return;
	}
	flow->path = path;
	flow->slot = slot;
	flow->seen_s = seen;
}

static __always_inline void flow_remember(__u64 *hash, __u32 path, __u32 seen)
{
	__u64 word = flow_word(*hash, path, seen);
	__u64 *cached = flow_cache_get(*hash);

	if (cached && *cached == word)
		return;
	flow_keep(hash, path, *hash % MPB_SLOTS, seen);
	if (cached)
		*cached = word;
}

#endif
