/* broadcast, the sending side: a packet becomes one copy for each link.
 *
 * Copies go round by mp0's far end, as probes do: each comes in there once more,
 * marked with its path, its number in the Ethernet header that nobody reads, and
 * leaves encapsulated. The last of them is the packet itself.
 */
#ifndef MPBOND_BROADCAST_H
#define MPBOND_BROADCAST_H

#include "encap.h"

/* Upper half of a copy's mark; the lower half is its path. */
#define COPY_MARK 0x6d710000
#define COPY_MARK_MASK 0xffff0000
#define COPY_NUMBER_OFFSET 6 /* Ethernet's source address */
/* Links that a packet is copied to. */
#define MAX_COPIES 16

/* `number` counts for copies only. */
struct copy {
	__u32 is_copy;
	__u32 number;
};

static __always_inline int comes_as_copy(struct __sk_buff *skb, struct mpb_node *node)
{
	return skb->ifindex == node->far_ifindex && (skb->mark & COPY_MARK_MASK) == COPY_MARK;
}

/* The path that a copy was made for, while the bond still has it. */
static __always_inline __u32 path_of_copy(struct __sk_buff *skb, struct bond_view *view, struct copy *copy)
{
	__u32 index = skb->mark & ~COPY_MARK_MASK;

	skb->mark = 0;
	if (bpf_skb_load_bytes(skb, COPY_NUMBER_OFFSET, &copy->number, sizeof(copy->number)))
		return MPB_NO_PATH;
	copy->is_copy = 1;
	return usable_path(view, index) ? index : MPB_NO_PATH;
}

/* Into the header that write_outer has put there. Returns 0 if it does not fit. */
static __always_inline int write_copy(struct __sk_buff *skb, struct mpb_path *path, struct copy *copy)
{
	void *data = (void *)(long)skb->data;
	struct wire_header *header = data + MPB_ETH_HLEN + overhead(path) - (int)sizeof(struct wire_header);

	if (!copy->is_copy)
		return 1;
	if ((void *)(header + 1) > (void *)(long)skb->data_end)
		return 0;
	header->flags = WIRE_COPY;
	header->sequence = bpf_htonl(copy->number);
	return 1;
}

static __always_inline void send_copy(struct __sk_buff *skb, struct mpb_node *node, __u32 index)
{
	skb->mark = COPY_MARK | index;
	if (bpf_clone_redirect(skb, node->far_ifindex, BPF_F_INGRESS))
		count_reason(REASON_tx_copy_failed);
}

/* Takes the next number for a packet that becomes copies. Returns 0 where it does not
 * fit, and the packet is sent as it is. */
static __always_inline int number_copy(struct __sk_buff *skb, struct bond_view *view, struct copy *copy)
{
	copy->number = (__u32)__sync_fetch_and_add(&view->live->sequence, 1);
	if (bpf_skb_store_bytes(skb, COPY_NUMBER_OFFSET, &copy->number, sizeof(copy->number), 0))
		return 0;
	copy->is_copy = 1;
	return 1;
}

/* Sends a copy to every link but the last; returns the path of that one. `order`
 * has a path of each link in front. */
static __always_inline __u32 send_copies(struct __sk_buff *skb, struct mpb_node *node, struct bond_view *view,
					 struct copy *copy)
{
	struct mpb_bond *bond = view->bond;
	__u32 last = MPB_NO_PATH;

	if (!number_copy(skb, view, copy))
		return MPB_NO_PATH;
	for (__u32 i = 0; i < MAX_COPIES; i++) {
		__u32 index = bond->order[i];

		if (i >= bond->preferred_count)
			break;
		if (!usable_path(view, index))
			continue;
		if (last != MPB_NO_PATH)
			send_copy(skb, node, last);
		last = index;
	}
	skb->mark = 0;
	return last == MPB_NO_PATH ? take_over(view, 0) : last;
}

#endif
