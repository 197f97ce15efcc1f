/* What rx does with a packet, whichever hook brought it.
 *
 * classify() and admit() read the packet through two pointers and serve tc and
 * XDP alike; only taking the header off and handing over differs by hook.
 */
#ifndef MPBOND_RX_H
#define MPBOND_RX_H

#include "copies.h"
#include "handshake.h"
#include "limits.h"

/* Furthest byte that rx reads: Ethernet, outer IPv6, UDP, bond header, inner IPv6. */
#define RX_HEADERS (MPB_ETH_HLEN + WIRE_OVERHEAD_V6 + (int)sizeof(struct ipv6hdr))

/* An admitted data packet. */
struct admitted {
	struct outer outer;
	__be16 inner_proto;
	__u32 path;
	__u32 is_copy;
	__u32 number; /* of a copy */
};

static __always_inline int is_local(void *data, void *data_end, struct outer *outer)
{
	struct mpb_local_key key = {};
	struct ipv6hdr *v6 = data + outer->ip_offset;
	struct iphdr *v4 = data + outer->ip_offset;

	key.family = outer->family;
	if (outer->family == AF_INET) {
		if ((void *)(v4 + 1) > data_end)
			return 0;
		__builtin_memcpy(key.address, &v4->daddr, 4);
	} else {
		if ((void *)(v6 + 1) > data_end)
			return 0;
		__builtin_memcpy(key.address, &v6->daddr, 16);
	}
	return local_get(&key) != 0;
}

static __always_inline struct wire_header *bond_header(void *data, void *data_end, struct outer *outer)
{
	struct wire_header *header;

	if (outer->family == AF_INET)
		header = data + outer->ip_offset + sizeof(struct iphdr) + sizeof(struct udphdr);
	else
		header = data + outer->ip_offset + sizeof(struct ipv6hdr) + sizeof(struct udphdr);
	return (void *)(header + 1) > data_end ? 0 : header;
}

/* Addressed to the bond's port, or an answer to one of our further connections? */
static __always_inline int is_for_us(void *data, void *data_end, struct mpb_node *node, struct outer *outer)
{
	struct wire_header *header;

	if (outer->dest_port == node->port)
		return 1;
	if (node->source_ports <= 1 || outer->fragment)
		return 0;
	header = bond_header(data, data_end, outer);
	return header && answers_connection(node, header, outer->dest_port);
}

/* Whose packet is it? GO_ON with `session` set, or a reason. A packet of no
 * session of ours passes on unless one of our addresses is its destination: a
 * router may have a bond of somebody else's behind it. */
static __always_inline int classify(void *data, void *data_end, __u32 l2_len, __be16 eth_proto,
				    struct mpb_node *node, struct outer *outer, struct mpb_session **session)
{
	struct wire_header *header;
	__be64 number;

	if (!parse_outer(data, data_end, l2_len, eth_proto, outer))
		return REASON_rx_not_ours;
	if (!is_for_us(data, data_end, node, outer))
		return REASON_rx_not_ours;
	if (outer->fragment)
		return is_local(data, data_end, outer) ? REASON_rx_fragment : REASON_rx_not_ours;
	if (outer->family == AF_INET)
		header = data + l2_len + sizeof(struct iphdr) + sizeof(struct udphdr);
	else
		header = data + l2_len + sizeof(struct ipv6hdr) + sizeof(struct udphdr);
	if ((void *)(header + 1) > data_end)
		return is_local(data, data_end, outer) ? REASON_rx_truncated : REASON_rx_not_ours;
	number = header->session;
	if (is_handshake(node, header))
		return is_local(data, data_end, outer) ? REASON_rx_handshake : REASON_rx_not_ours;
	*session = session_get(&number);
	if (!*session)
		return is_local(data, data_end, outer) ? REASON_rx_unknown_session : REASON_rx_not_ours;
	if (header->version_type >> 4 != WIRE_VERSION)
		return REASON_rx_bad_version;
	if ((header->version_type & 0xf) > WIRE_CONTROL || (header->version_type & 0xf) == WIRE_HANDSHAKE)
		return REASON_rx_bad_type;
	if (header->flags & ~((header->version_type & 0xf) == WIRE_DATA ? WIRE_COPY : 0))
		return REASON_rx_bad_type;
	/* A probe is checked first: its path has to hear of damage. */
	if ((header->version_type & 0xf) == WIRE_DATA && is_surplus(*session, header))
		return refuse_surplus(*session);
	return GO_ON;
}

/* May this data packet, with `inner_len` bytes inside, come in? Cryptokey routing,
 * as WireGuard has it: the inner source must lie in the prefixes of the peer whose
 * session it carries. */
static __always_inline int admit(void *data, void *data_end, __u32 inner_len, struct mpb_session *session,
				 struct admitted *in)
{
	struct wire_header *header = bond_header(data, data_end, &in->outer);
	struct inner_source source = {};
	struct mpb_prefix *prefix;
	__u32 number;

	if (!header)
		return REASON_rx_truncated;
	if (!parse_inner_source(header + 1, data_end, &source))
		return REASON_rx_inner_malformed;
	/* The stack behind mp0 would drop it too, but not under a name of ours. */
	if (source.len > inner_len)
		return REASON_rx_truncated;
	prefix = prefix_get(&source.key);
	if (!prefix || prefix->bond != session->bond)
		return REASON_rx_source_not_allowed;
	in->inner_proto = source.proto;
	number = wire_path_number(header);
	in->path = number < MPB_MAX_BOND_PATHS ? session->local_path[number] : MPB_NO_PATH;
	in->is_copy = header->flags & WIRE_COPY;
	in->number = bpf_ntohl(header->sequence);
	return GO_ON;
}

/* Counts an admitted packet to its path and lets the first copy of it through, within
 * the peer's rate: a path is credited with what came over it, delivered or not. */
static __always_inline int take_data(struct mpb_session *session, struct mpb_node *node, struct admitted *in,
				     __u32 packets, __u32 inner_len)
{
	struct mpb_copies *copies;
	int reason;

	if (in->path != MPB_NO_PATH)
		count_rx(in->path, packets, inner_len);
	if (in->is_copy) {
		copies = copies_get(session->bond);
		reason = copies ? copies_take(copies, in->number) : REASON_rx_duplicate;
		if (reason != GO_ON)
			return reason;
	}
	return may_receive(node, session->bond, in->path, inner_len) ? GO_ON : REASON_rx_over_limit;
}

/* Ethernet as mp0 expects it: addressed to itself, or it is nobody's. */
static __always_inline void write_ethernet(struct ethhdr *eth, struct mpb_node *node, __be16 proto)
{
	__builtin_memcpy(eth->h_dest, node->mp0_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, node->mp0_mac, ETH_ALEN);
	eth->h_proto = proto;
}

/* tc verdict of a reason to end: pass on means "ask the next filter". */
static __always_inline int tc_end(__u32 reason)
{
	if (reason == REASON_rx_not_ours || reason == REASON_rx_unconfigured)
		return finish(reason, TC_ACT_UNSPEC);
	return finish(reason, TC_ACT_SHOT);
}

static __always_inline int xdp_end(__u32 reason)
{
	if (reason == REASON_rx_handshake)
		reason = REASON_rx_to_tc;
	if (reason == REASON_rx_not_ours || reason == REASON_rx_unconfigured || reason == REASON_rx_to_tc)
		return finish(reason, XDP_PASS);
	return finish(reason, XDP_DROP);
}

#endif
