/* Counting: one function per thing counted, each packet's end counted once.
 *
 * Counters are per CPU slots of mmap-able arrays. Programs run with softirqs
 * off on one CPU, so a plain increment loses nothing.
 */
#ifndef MPBOND_STATS_H
#define MPBOND_STATS_H

#include "maps.h"

static __always_inline void count_reason(__u32 reason)
{
	__u64 *counter = reason_get(reason, bpf_get_smp_processor_id());

	if (counter)
		*counter += 1;
}

/* The one way out of a program: counts the reason, gives the verdict. */
static __always_inline int finish(__u32 reason, int verdict)
{
	count_reason(reason);
	return verdict;
}

static __always_inline __u64 coarse_ns(void)
{
	return bpf_ktime_get_coarse_ns();
}

static __always_inline void count_tx(__u32 path, __u32 packets, __u32 bytes)
{
	struct mpb_path_stats *stats = path_stats_get(path, bpf_get_smp_processor_id());

	if (!stats)
		return;
	stats->tx_packets += packets;
	stats->tx_bytes += bytes;
	stats->last_tx_ns = coarse_ns();
}

/* Of balance-aware: what each slot carries, for the controller to move slots by. Not
 * per CPU: a slot's few flows are on few CPUs, and 256 counters each add up. */
static __always_inline void count_slot(__u32 bond, __u32 slot, __u32 bytes)
{
	__u64 *counter;

	if (slot >= MPB_SLOTS)
		return;
	counter = slot_bytes_get(bond, slot);
	if (counter)
		__sync_fetch_and_add(counter, bytes);
}

static __always_inline void count_rx(__u32 path, __u32 packets, __u32 bytes)
{
	struct mpb_path_stats *stats = path_stats_get(path, bpf_get_smp_processor_id());

	if (!stats)
		return;
	stats->rx_packets += packets;
	stats->rx_bytes += bytes;
	stats->last_rx_ns = coarse_ns();
}

/* Data packets of a path over all CPUs, for the probes: [0] sent, [1] received. */
static __always_inline void sum_packets(__u32 path, __u32 sums[2])
{
	sums[0] = 0;
	sums[1] = 0;
	for (__u32 cpu = 0; cpu < MPB_CPUS; cpu++) {
		struct mpb_path_stats *stats = path_stats_get(path, cpu);

		if (!stats)
			return;
		sums[0] += (__u32)stats->tx_packets;
		sums[1] += (__u32)stats->rx_packets;
	}
}

#endif
