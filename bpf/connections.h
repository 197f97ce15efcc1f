/* The connections of a path: UDP flows that differ by their source port alone.
 *
 * Which one a packet takes, which ones a peer may use. On the way out connection n
 * leaves by the node's source port n; on the way in its number stands in the bond's
 * header, as a NAT may have put another port in that place.
 */
#ifndef MPBOND_CONNECTIONS_H
#define MPBOND_CONNECTIONS_H

#include "encap.h"

/* Bound of a loop that takes 1 + ln(connections) rounds on average, 6 for 128. */
#define MAX_JUMPS 32
/* For so long the peer is told that connections of its were refused. */
#define SURPLUS_TOLD_NS (10ULL * 1000 * 1000 * 1000)

/* Jump consistent hash (Lamping and Veach, 2014): 0..count-1, evenly; of count + 1
 * instead of count, one key in count + 1 gets another number. */
static __always_inline __u32 jump_hash(__u64 key, __u32 count)
{
	__u64 at = 0, next = 0;

	for (int i = 0; i < MAX_JUMPS; i++) {
		if (next >= count)
			break;
		at = next;
		key = key * 2862933555777941757ULL + 1;
		next = ((at + 1) << 31) / ((key >> 33) + 1);
	}
	return at;
}

/* A data packet's connection, by its flow. The one for metadata is the hash's last
 * number: where it is left out, no flow of the others moves. */
static __always_inline __u32 data_connection(struct bond_view *view, struct mpb_path *path, __u32 index,
					     __u64 hash)
{
	__u32 count = path->connections;
	__u32 place;

	if (count <= 1)
		return 0;
	place = jump_hash(hash, index == view->bond->metadata_path ? count - 1 : count) + 1;
	return place == count ? 0 : place;
}

/* Every second probe is connection 0's, by which the peer knows the path; the others
 * take turns, so that a NAT keeps them all. */
static __always_inline __u32 probe_connection(struct mpb_path *path, struct mpb_path_live *live)
{
	__u64 turn = live->probes_sent;

	if (path->connections <= 1 || !(turn & 1))
		return 0;
	return 1 + (turn >> 1) % (path->connections - 1);
}

/* Into the headers that write_outer has put there. Returns 0 if it does not fit. */
static __always_inline int write_connection(struct __sk_buff *skb, struct mpb_node *node,
					    struct mpb_path *path, __u32 connection)
{
	void *data = (void *)(long)skb->data;
	struct wire_header *header = data + MPB_ETH_HLEN + overhead(path) - (int)sizeof(struct wire_header);
	struct udphdr *udp = (void *)header - (int)sizeof(struct udphdr);

	if (!connection)
		return 1;
	if ((void *)(header + 1) > (void *)(long)skb->data_end)
		return 0;
	connection &= MPB_MAX_CONNECTIONS - 1;
	udp->source = node->source_port[connection];
	header->connection = connection;
	return 1;
}

/* ---- the receiving side ---- */

/* Is this, not addressed to the bond's port, the answer to a probe that left by the
 * port it is addressed to? */
static __always_inline int answers_connection(struct mpb_node *node, struct wire_header *header,
					      __be16 dest_port)
{
	__u32 connection = header->connection;

	if ((header->version_type & 0xf) != WIRE_ANSWER || connection >= node->source_ports)
		return 0;
	return dest_port == node->source_port[connection & (MPB_MAX_CONNECTIONS - 1)];
}

/* Of a packet that the peer sent: an answer has the number of a connection of ours. */
static __always_inline int is_surplus(struct mpb_session *session, struct wire_header *header)
{
	return header->connection && header->connection >= session->connections;
}

/* Kept for both ends: the peer hears of it in our probes and answers. */
static __always_inline int refuse_surplus(struct mpb_session *session)
{
	struct mpb_bond_live *live = bond_live_get(session->bond);

	if (live) {
		__sync_fetch_and_add(&live->surplus, 1);
		live->surplus_ns = bpf_ktime_get_ns();
	}
	return REASON_rx_surplus_connection;
}

static __always_inline int refused_lately(struct mpb_bond_live *live, __u64 now_ns)
{
	return live->surplus_ns && now_ns - live->surplus_ns < SURPLUS_TOLD_NS;
}

#endif
