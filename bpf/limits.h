/* Rates of a peer over all its paths together: maxSendKbps, maxRecvKbps.
 *
 * Sending, packets wait: they pass mp0's queue, each under its peer's class there
 * (kernel/shaper.py). Receiving there is nothing to wait in: the sender has been asked
 * to keep to the rate, and what is beyond it is dropped. A node without any limit looks
 * nothing up for this.
 */
#ifndef MPBOND_LIMITS_H
#define MPBOND_LIMITS_H

#include "maps.h"
#include "select.h"

/* Every packet of such a bond waits, whatever path it takes: its policy counts packets, so
 * it must not be asked for a path twice. */
static __always_inline int queues_all(struct mpb_node *node, struct bond_view *view)
{
	struct mpb_limit *limit;

	if (!node->limiting)
		return 0;
	limit = limit_get(view->index);
	return limit && limit->send_class && view->bond->policy == MPB_POLICY_BALANCE_RR;
}

/* Is this packet to wait, as its path is not exempt? */
static __always_inline int queues(struct __sk_buff *skb, struct mpb_node *node, __u32 bond,
				  struct mpb_path *path)
{
	struct mpb_limit *limit;

	if (!node->limiting || skb->ifindex != node->mp0_ifindex || (path->flags & MPB_PATH_EXEMPT))
		return 0;
	limit = limit_get(bond);
	return limit && limit->send_class;
}

/* To mp0's queue: under its class if the peer has one. */
static __always_inline int to_device(struct __sk_buff *skb, struct mpb_node *node, __u32 bond)
{
	struct mpb_limit *limit;

	if (node->limiting) {
		limit = limit_get(bond);
		if (limit && limit->send_class)
			skb->priority = limit->send_class;
	}
	return finish(REASON_tx_to_device, TC_ACT_OK);
}

/* Takes a packet's time on the line, which is free from `recv_free_ns` on. False where that
 * is too far ahead. (The generic cell rate algorithm: ITU-T I.371, virtual scheduling.) */
static __always_inline int within_rate(struct mpb_limit *limit, __u32 bytes)
{
	__u64 now_ns = bpf_ktime_get_ns(), free_ns = limit->recv_free_ns;
	__u64 cost_ns = (bytes * limit->recv_ns_per_mib) >> 20;

	if (free_ns > now_ns + limit->recv_burst_ns)
		return 0;
	/* Who loses the race adds to what the winner has set. */
	if (free_ns >= now_ns ||
	    __sync_val_compare_and_swap(&limit->recv_free_ns, free_ns, now_ns + cost_ns) != free_ns)
		__sync_fetch_and_add(&limit->recv_free_ns, cost_ns);
	return 1;
}

/* May the peer send that much, now? `index`: the path that it came over, if that is known. */
static __always_inline int may_receive(struct mpb_node *node, __u32 bond, __u32 index, __u32 bytes)
{
	struct mpb_limit *limit;
	struct mpb_path *path;

	if (!node->limiting)
		return 1;
	limit = limit_get(bond);
	if (!limit || !limit->recv_ns_per_mib)
		return 1;
	path = path_get(index);
	if (path && (path->flags & MPB_PATH_EXEMPT))
		return 1;
	return within_rate(limit, bytes);
}

#endif
