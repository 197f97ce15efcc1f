/* Proofs of life and the clock they are dated by.
 *
 * A proof is an answered probe, or the peer's word (authenticated) that our
 * answer reached it: either shows that both directions work. Proofs are dated
 * by the bond's own clock, which runs only while probes go out or come in: when
 * both controllers stop, no path ages. After such a stall the clock stands for
 * the slowest path's round trip more, so that nobody is late by being far away.
 */
#ifndef MPBOND_LIVENESS_H
#define MPBOND_LIVENESS_H

#include "siphash.h"
#include "stats.h"
#include "window.h"
#include "wire.h"

/* Answers and acknowledgements older than this prove nothing. */
#define MAX_STAMP_AGE_NS (60ULL * 1000 * 1000 * 1000)

static __always_inline __u64 stamp_now(struct mpb_node *node, __u64 now_ns)
{
	return now_ns + node->stamp_offset;
}

/* Was this stamp made by us, in this run, within the last minute? */
static __always_inline int stamp_recent(struct mpb_node *node, __u64 stamp, __u64 now_ns)
{
	return stamp_now(node, now_ns) - stamp < MAX_STAMP_AGE_NS;
}

/* Called for each sign of probing. The exchange hands every nanosecond to
 * exactly one caller. */
static __always_inline void clock_advance(struct mpb_bond *bond, struct mpb_bond_live *live, __u64 now_ns)
{
	__u64 before_ns = __sync_lock_test_and_set(&live->clock_read_ns, now_ns);
	__s64 gap_ns = now_ns - before_ns;

	if (gap_ns <= 0)
		return;
	if ((__u64)gap_ns > bond->stall_ns)
		live->clock_hold_ns = now_ns + bond->rtt_max_ns;
	else if (now_ns >= live->clock_hold_ns)
		__sync_fetch_and_add(&live->clock_ns, gap_ns);
}

/* `age_ns`: how long ago the proof was made, for an acknowledgement. */
static __always_inline void prove(struct mpb_bond_live *bond, struct mpb_path_live *path, __u32 index,
				  __u64 age_ns, __u64 now_ns)
{
	__u64 proof_ns = bond->clock_ns > age_ns ? bond->clock_ns - age_ns : 1;

	if (proof_ns >= path->proof_ns) {
		path->proof_ns = proof_ns;
		path->proof_at_ns = now_ns - age_ns;
	}
	if (proof_ns >= bond->freshest_ns) {
		bond->freshest_ns = proof_ns;
		bond->last_alive_path = index;
	}
}

/* What an answer tells of the path: how long there and back, how long there, and how
 * much of the data sent before its probe had come. */
static __always_inline void record_answer(struct mpb_path_live *path, struct wire_probe *probe,
					  __u32 sequence, __u64 rtt_ns)
{
	__u32 at = path->rtt_count % MPB_RTT_SAMPLES;

	path->rtt_ns[at] = rtt_ns > 0xffffffff ? 0xffffffff : rtt_ns;
	path->forward_ns[at] = probe->answer_stamp - probe->sent_stamp;
	path->rtt_count++;
	path->probes_answered++;
	path->peer_sent_packets = bpf_ntohl(probe->sent_packets);
	path->peer_received_packets = bpf_ntohl(probe->received_packets);
	/* An older probe's answer that comes late would set the pair back. */
	if (sequence != path->answered_highest)
		return;
	path->paired_sent = path->sent_at[sequence % MPB_RTT_SAMPLES];
	path->paired_received = path->peer_received_packets;
}

/* The peer's acknowledgement of our newest answer. */
static __always_inline void take_acknowledgement(struct mpb_node *node, struct mpb_bond_live *bond,
						 struct mpb_path_live *path, __u32 index,
						 struct wire_probe *probe, __u64 now_ns)
{
	if (!probe->answer_stamp || probe->answer_stamp == path->acked_stamp)
		return;
	if (!stamp_recent(node, probe->answer_stamp, now_ns))
		return;
	if (path->acked_stamp && (__s64)(probe->answer_stamp - path->acked_stamp) < 0)
		return;
	path->acked_stamp = probe->answer_stamp;
	prove(bond, path, index, (__u64)bpf_ntohl(probe->hold_us) * 1000, now_ns);
}

struct mac_message {
	struct wire_header header;
	struct wire_probe probe;
};

static __always_inline __u64 message_mac(const __u64 key[2], struct mac_message *message)
{
	return siphash_words(key, (const __u64 *)message, WIRE_MAC_WORDS);
}

#endif
