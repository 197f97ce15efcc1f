/* redundant: packets that a rule of the policy names go over the best two links.
 *
 * They are copies as broadcast makes them, with numbers of the same row: the receiver
 * delivers the first. A copy needs a number of its own, so what is to be sent twice is
 * left to the device, which cuts super-packets, and copied at its far end.
 */
#ifndef MPBOND_REDUNDANT_H
#define MPBOND_REDUNDANT_H

#include "broadcast.h"

/* 1 where the port is in none of the rule's ranges. Here and below misses are gathered
 * without a branch: the verifier would follow both sides of each. */
static __always_inline __u32 port_misses(struct mpb_rule *rule, __be16 wire_port)
{
	__u32 port = bpf_ntohs(wire_port);
	__u32 misses = 1;

	for (__u32 i = 0; i < MPB_RULE_RANGES; i++) {
		if (i >= rule->range_count)
			break;
		misses &= ((rule->high[i] - port) | (port - rule->low[i])) >> 31;
	}
	return misses;
}

/* A packet without ports has 0 for both, which is in no range that can be given; a rule
 * without ports has one from 0 on. */
static __always_inline int rule_matches(struct mpb_rule *rule, struct inner *in, __u32 size)
{
	__u32 misses = port_misses(rule, in->ports.source) & port_misses(rule, in->ports.dest);

	misses |= (in->tos ^ rule->tos) & rule->tos_mask;
	misses |= (in->proto ^ rule->protocol) & rule->protocol_mask;
	misses |= (rule->max_size - size) >> 31;
	return !misses;
}

/* Does a rule of the bond name this packet? A super-packet is as large as what it
 * will be cut into, less its headers: what is cut is asked once more. */
static __always_inline int is_redundant(struct __sk_buff *skb, struct bond_view *view, struct inner *in)
{
	__u32 size = skb->gso_size ? skb->gso_size : skb->len - MPB_ETH_HLEN;
	struct mpb_redundant *redundant;

	if (!(view->bond->flags & MPB_BOND_REDUNDANT))
		return 0;
	redundant = redundant_get(view->index);
	if (!redundant)
		return 0;
	for (__u32 i = 0; i < MPB_REDUNDANT_RULES; i++) {
		if (i >= redundant->rule_count)
			break;
		if (rule_matches(&redundant->rule[i], in, size))
			return 1;
	}
	return 0;
}

/* Sends a copy over the best link and returns the path for the packet itself: of the
 * next link, or of the best where that is the only one. Where none of the paths named
 * is usable, take-over finds one. */
static __always_inline __u32 send_twice(struct __sk_buff *skb, struct mpb_node *node, struct bond_view *view,
					struct copy *copy)
{
	struct mpb_redundant *redundant = redundant_get(view->index);
	__u32 best = MPB_NO_PATH, link = 0;

	if (!redundant || !number_copy(skb, view, copy))
		return MPB_NO_PATH;
	for (__u32 i = 0; i < MPB_REDUNDANT_PATHS; i++) {
		__u32 index = redundant->path[i];
		struct mpb_path *path;

		if (i >= redundant->path_count)
			break;
		path = usable_path(view, index);
		if (!path || path->ifindex == link)
			continue;
		if (best != MPB_NO_PATH) {
			send_copy(skb, node, best);
			skb->mark = 0;
			return index;
		}
		best = index;
		link = path->ifindex;
	}
	return best != MPB_NO_PATH ? best : take_over(view, 0);
}

#endif
