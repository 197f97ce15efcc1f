/* Every map and a one-line accessor for each: the only file in bcc's map dialect.
 *
 * Sizes are defines so that the controller fits them to the configuration. Maps
 * marked MMAPABLE are read and written by the controller as memory. Who writes
 * and who reads which is tabled in README.md.
 */
#ifndef MPBOND_MAPS_H
#define MPBOND_MAPS_H

#include "abi.h"
#include "reasons.h"

#ifndef MPB_FLOWS
#define MPB_FLOWS 262144
#endif
/* A power of two, at least MPB_FLOWS. */
#ifndef MPB_FLOW_CACHE
#define MPB_FLOW_CACHE 262144
#endif
#ifndef MPB_PATHS
#define MPB_PATHS 1024
#endif
#ifndef MPB_BONDS
#define MPB_BONDS 64
#endif
#ifndef MPB_PREFIXES
#define MPB_PREFIXES 4096
#endif
#ifndef MPB_CPUS
#define MPB_CPUS 2
#endif

/* Of messages that the controller has not read yet; a power of two. */
#define MPB_HANDSHAKE_PAGES 64

/* clang-format takes products in arguments for pointers. */
// clang-format off
BPF_F_TABLE("array", __u32, struct mpb_node, node_map, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_bond, bonds, MPB_BONDS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_bond_live, bonds_live, MPB_BONDS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_slots, weights, MPB_BONDS * 2, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, __u64, slot_bytes, MPB_BONDS * MPB_SLOTS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_path, paths, MPB_PATHS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_path_live, paths_live, MPB_PATHS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_path_stats, path_stats, MPB_PATHS * MPB_CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, __u64, reasons, MPB_REASON_STRIDE * MPB_CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("lpm_trie", struct mpb_prefix_key, struct mpb_prefix, prefixes, MPB_PREFIXES, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", __u64, struct mpb_flow, flows, MPB_FLOWS);
BPF_F_TABLE("array", __u32, __u64, flow_cache, MPB_FLOW_CACHE, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_redundant, redundant, MPB_BONDS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_limit, limits, MPB_BONDS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct mpb_copies, copies, MPB_BONDS, BPF_F_MMAPABLE);
BPF_TABLE("hash", __be64, struct mpb_session, sessions, MPB_BONDS * 4);
BPF_TABLE("hash", struct mpb_remote_key, struct mpb_remote, remotes, MPB_PATHS * 2);
BPF_TABLE("hash", struct mpb_local_key, struct mpb_local, locals, MPB_PATHS * 2);
BPF_TABLE("array", __u32, __u64, handshake_next, MPB_HANDSHAKE_BUCKETS);
BPF_RINGBUF_OUTPUT(handshakes, MPB_HANDSHAKE_PAGES);
// clang-format on

static __always_inline struct mpb_node *node_get(void)
{
	__u32 zero = 0;

	return node_map.lookup(&zero);
}

static __always_inline struct mpb_bond *bond_get(__u32 bond)
{
	return bonds.lookup(&bond);
}

static __always_inline struct mpb_bond_live *bond_live_get(__u32 bond)
{
	return bonds_live.lookup(&bond);
}

static __always_inline struct mpb_slots *slots_get(__u32 bond, __u32 generation)
{
	__u32 index = bond * 2 + (generation & 1);

	return weights.lookup(&index);
}

static __always_inline __u64 *slot_bytes_get(__u32 bond, __u32 slot)
{
	__u32 index = bond * MPB_SLOTS + slot;

	return slot_bytes.lookup(&index);
}

static __always_inline struct mpb_path *path_get(__u32 path)
{
	return paths.lookup(&path);
}

static __always_inline struct mpb_path_live *path_live_get(__u32 path)
{
	return paths_live.lookup(&path);
}

static __always_inline struct mpb_path_stats *path_stats_get(__u32 path, __u32 cpu)
{
	__u32 index = path * MPB_CPUS + cpu;

	return path_stats.lookup(&index);
}

static __always_inline __u64 *reason_get(__u32 reason, __u32 cpu)
{
	__u32 index = cpu * MPB_REASON_STRIDE + reason;

	return reasons.lookup(&index);
}

static __always_inline struct mpb_prefix *prefix_get(struct mpb_prefix_key *key)
{
	return prefixes.lookup(key);
}

static __always_inline struct mpb_flow *flow_get(__u64 *key)
{
	return flows.lookup(key);
}

static __always_inline __u64 *flow_cache_get(__u64 hash)
{
	__u32 index = (__u32)hash & (MPB_FLOW_CACHE - 1);

	return flow_cache.lookup(&index);
}

static __always_inline struct mpb_redundant *redundant_get(__u32 bond)
{
	return redundant.lookup(&bond);
}

static __always_inline struct mpb_limit *limit_get(__u32 bond)
{
	return limits.lookup(&bond);
}

static __always_inline struct mpb_copies *copies_get(__u32 bond)
{
	return copies.lookup(&bond);
}

static __always_inline void flow_put(__u64 *key, struct mpb_flow *flow)
{
	flows.update(key, flow);
}

static __always_inline struct mpb_session *session_get(__be64 *session)
{
	return sessions.lookup(session);
}

static __always_inline struct mpb_remote *remote_get(struct mpb_remote_key *key)
{
	return remotes.lookup(key);
}

/* When the next message of a bucket of addresses would be in time. */
static __always_inline __u64 *handshake_next_get(__u32 bucket)
{
	return handshake_next.lookup(&bucket);
}

static __always_inline struct mpb_local *local_get(struct mpb_local_key *key)
{
	return locals.lookup(key);
}

#endif
