/* Probes: made by the controller's tick, answered and recorded here.
 *
 * A tick is one test run with a list of paths. It sends a clone for each to
 * mp0's far end, marked with the path; there the clone becomes a probe, stamped
 * as it leaves, and goes to the link as data does: the kernel finds the next hop.
 */
#ifndef MPBOND_PROBE_H
#define MPBOND_PROBE_H

#include "connections.h"
#include "roaming.h"

/* Upper half of the mark of a tick's clones; the lower half is the path. */
#define TICK_MARK 0x6d700000
#define TICK_MARK_MASK 0xffff0000
#define PROBE_LEN ((__u32)sizeof(struct wire_probe))

static __always_inline void tick_path(struct __sk_buff *skb, struct mpb_node *node, __u16 index)
{
	struct mpb_path *path = path_get(index);
	struct mpb_bond_live *live;
	struct mpb_bond *bond;
	__be16 proto;

	if (!path || !(path->flags & MPB_PATH_LINK_UP))
		return;
	bond = bond_get(path->bond);
	live = bond_live_get(path->bond);
	/* Without a session there is nothing that the peer would answer. */
	if (!bond || !live || !bond->tx_session[bond->tx_live & 1])
		return;
	clock_advance(bond, live, bpf_ktime_get_ns());
	proto = path->flags & MPB_PATH_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	/* The clone's protocol is read from its Ethernet header on arrival. */
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto), 0))
		return;
	skb->mark = TICK_MARK | index;
	if (bpf_clone_redirect(skb, node->far_ifindex, BPF_F_INGRESS))
		count_reason(REASON_probe_failed);
}

/* One path of the list. The controller has the kernel repeat the run once per
 * path; the packet's control block, which lasts from run to run, says where we
 * are. A loop here would cost the verifier seconds. */
static __always_inline void tick(struct __sk_buff *skb, struct mpb_node *node)
{
	__u32 at = skb->cb[0];
	__u16 count = 0;
	__u16 index = 0;

	skb->cb[0] = at + 1;
	if (bpf_skb_load_bytes(skb, offsetof(struct mpb_tick, count), &count, sizeof(count)))
		return;
	if (at >= count || at >= MPB_TICK_PATHS)
		return;
	if (bpf_skb_load_bytes(skb, offsetof(struct mpb_tick, path) + at * sizeof(index), &index,
			       sizeof(index)))
		return;
	tick_path(skb, node, index);
}

/* What the peer is told of how we use a path. */
static __always_inline __be32 path_marks(struct mpb_bond *bond, __u32 bond_index, __u32 index, __u64 now_ns)
{
	struct mpb_bond_live *bond_live = bond_live_get(bond_index);
	struct mpb_path *path = path_get(index);
	__u32 marks = MPB_MARK_VALID | (bond->policy & MPB_MARK_POLICY);

	if (path && (path->flags & MPB_PATH_SPARE))
		marks |= MPB_MARK_SPARE;
	if (bond_live && refused_lately(bond_live, now_ns))
		marks |= MPB_MARK_SURPLUS;
	return bpf_htonl(marks);
}

/* The session number in use and the MAC that goes with it; everything else is there. */
static __always_inline void sign(struct mpb_bond *bond, struct mac_message *message)
{
	__u32 live = bond->tx_live & 1;

	message->header.session = bond->tx_session[live];
	message->probe.mac = message_mac(bond->tx_mac_key + 2 * live, message);
}

static __always_inline void fill_probe(struct mac_message *message, struct mpb_node *node,
				       struct mpb_bond *bond, struct mpb_path *path,
				       struct mpb_path_live *live, __u32 index, __u32 connection)
{
	__u64 now_ns = bpf_ktime_get_ns();
	__u64 hold_us = live->answer_stamp ? (now_ns - live->answer_at_ns) / 1000 : 0;
	__u32 sums[2];

	sum_packets(index, sums);
	live->probes_sent++;
	live->sent_at[live->probes_sent % MPB_RTT_SAMPLES] = sums[0];
	live->last_out_ns = now_ns;
	message->header.version_type = wire_version_type(WIRE_PROBE);
	message->header.connection = connection;
	message->header.path_number = path->number;
	message->header.sequence = bpf_htonl((__u32)live->probes_sent);
	message->probe.sent_stamp = stamp_now(node, now_ns);
	message->probe.answer_stamp = live->answer_stamp;
	message->probe.hold_us = bpf_htonl(hold_us > 0xffffffff ? 0xffffffff : hold_us);
	message->probe.sent_packets = bpf_htonl(sums[0]);
	message->probe.received_packets = bpf_htonl(sums[1]);
	message->probe.marks = path_marks(bond, path->bond, index, now_ns);
	sign(bond, message);
}

/* Turns a tick's clone into a probe and sends it. Returns the verdict. */
static __always_inline int send_probe(struct __sk_buff *skb, struct mpb_node *node, __u32 index)
{
	struct mpb_path_live *live = path_live_get(index);
	struct mpb_path *path = path_get(index);
	struct mac_message message = {};
	struct mpb_bond *bond;
	__u32 header_len, connection;

	if (!path || !live || !(path->flags & MPB_PATH_USED))
		return finish(REASON_probe_failed, TC_ACT_SHOT);
	bond = bond_get(path->bond);
	if (!bond)
		return finish(REASON_probe_failed, TC_ACT_SHOT);
	header_len = overhead(path);
	if (bpf_skb_change_tail(skb, MPB_ETH_HLEN + header_len + PROBE_LEN, 0))
		return finish(REASON_probe_failed, TC_ACT_SHOT);
	connection = probe_connection(path, live);
	if (!write_outer(skb, path, PROBE_LEN, 0) || !write_connection(skb, node, path, connection))
		return finish(REASON_probe_failed, TC_ACT_SHOT);
	fill_probe(&message, node, bond, path, live, index, connection);
	if (bpf_skb_store_bytes(skb, MPB_ETH_HLEN + header_len - sizeof(message.header), &message,
				sizeof(message), 0))
		return finish(REASON_probe_failed, TC_ACT_SHOT);
	return finish(REASON_probe_sent, send_on(path));
}

/* ---- the receiving side ---- */

/* A probe or answer was damaged on its way. Only what carries our session number
 * counts, or anybody could make a path look bad; and only what is as long as a probe,
 * as of data but the header is checked. */
static __always_inline void note_damage(struct mpb_session *session, struct wire_header *header, __u32 len)
{
	__u32 number = wire_path_number(header);
	struct mpb_path_live *live;

	if (number >= MPB_MAX_BOND_PATHS || len != sizeof(struct mac_message))
		return;
	live = path_live_get(session->local_path[number]);
	if (live)
		live->failed++;
}

static __always_inline void note_probe(struct received *rx, struct mpb_bond *bond,
				       struct mac_message *message, __u32 index)
{
	struct mpb_bond_live *bond_live = bond_live_get(rx->session->bond);
	struct mpb_path_live *live = path_live_get(index);

	if (!bond_live)
		return;
	clock_advance(bond, bond_live, rx->now_ns);
	if (!live)
		return;
	live->checked++;
	live->last_in_ns = rx->now_ns;
	live->peer_sent_packets = bpf_ntohl(message->probe.sent_packets);
	live->peer_received_packets = bpf_ntohl(message->probe.received_packets);
	live->peer_marks = bpf_ntohl(message->probe.marks);
	take_acknowledgement(rx->node, bond_live, live, index, &message->probe, rx->now_ns);
}

static __always_inline int swap_bytes(struct __sk_buff *skb, __u32 first, __u32 second, __u32 len)
{
	__u8 a[16] = {};
	__u8 b[16] = {};

	if (bpf_skb_load_bytes(skb, first, a, len) || bpf_skb_load_bytes(skb, second, b, len))
		return 0;
	return !bpf_skb_store_bytes(skb, first, b, len, 0) && !bpf_skb_store_bytes(skb, second, a, len, 0);
}

/* Ethernet, IP and UDP back to where they came from; the IPv4 checksum holds,
 * being a sum of what is only swapped. */
static __always_inline int turn_around(struct __sk_buff *skb, struct outer *outer)
{
	__u32 ip = outer->ip_offset;
	__u32 udp = ip + (outer->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));

	if (ip && !swap_bytes(skb, 0, 6, 6))
		return 0;
	if (outer->family == AF_INET) {
		if (!swap_bytes(skb, ip + offsetof(struct iphdr, saddr), ip + offsetof(struct iphdr, daddr),
				4))
			return 0;
	} else if (!swap_bytes(skb, ip + offsetof(struct ipv6hdr, saddr),
			       ip + offsetof(struct ipv6hdr, daddr), 16)) {
		return 0;
	}
	return swap_bytes(skb, udp, udp + 2, 2);
}

/* A full TTL for the way back: what is left of the probe's may be too little. */
static __always_inline int renew_ttl(struct __sk_buff *skb, struct outer *outer)
{
	__u16 words[10] = {};
	__u32 sum = 0;
	__u8 ttl = 64;

	if (outer->family == AF_INET6)
		return !bpf_skb_store_bytes(skb, outer->ip_offset + offsetof(struct ipv6hdr, hop_limit), &ttl,
					    1, 0);
	if (bpf_skb_load_bytes(skb, outer->ip_offset, words, sizeof(words)))
		return 0;
	words[4] = bpf_htons((__u16)(ttl << 8) | (bpf_ntohs(words[4]) & 0xff));
	words[5] = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	words[5] = fold_checksum(sum);
	return !bpf_skb_store_bytes(skb, outer->ip_offset, words, sizeof(words), 0);
}

static __always_inline int answer(struct __sk_buff *skb, struct received *rx, struct mpb_bond *bond,
				  struct mac_message *message, __u32 index)
{
	__u32 sums[2] = {};

	if (index != MPB_NO_PATH)
		sum_packets(index, sums);
	message->header.version_type = wire_version_type(WIRE_ANSWER);
	message->probe.answer_stamp = stamp_now(rx->node, rx->now_ns);
	message->probe.hold_us = 0;
	message->probe.sent_packets = bpf_htonl(sums[0]);
	message->probe.received_packets = bpf_htonl(sums[1]);
	message->probe.marks = path_marks(bond, rx->session->bond, index, rx->now_ns);
	sign(bond, message);
	if (bpf_skb_store_bytes(skb, rx->message_offset, message, sizeof(*message), 0))
		return finish(REASON_rx_truncated, TC_ACT_SHOT);
	if (!turn_around(skb, &rx->outer) || !renew_ttl(skb, &rx->outer))
		return finish(REASON_rx_truncated, TC_ACT_SHOT);
	return finish(REASON_rx_probe_answered, bpf_redirect(skb->ifindex, 0));
}

static __always_inline int take_answer(struct received *rx, struct mpb_bond *bond,
				       struct mac_message *message)
{
	struct mpb_bond_live *bond_live = bond_live_get(rx->session->bond);
	__u32 number = wire_path_number(&message->header);
	__u32 index = bond->first_path + number;
	struct mpb_path_live *live = path_live_get(index);
	struct mpb_path *path = path_get(index);
	__u64 rtt_ns = stamp_now(rx->node, rx->now_ns) - message->probe.sent_stamp;

	if (!bond_live || !live || !path || number >= bond->path_count)
		return finish(REASON_rx_unknown_path, TC_ACT_SHOT);
	/* Taken out while its answer was on the way. */
	if (!(path->flags & MPB_PATH_USED))
		return finish(REASON_rx_unknown_path, TC_ACT_SHOT);
	if (!stamp_recent(rx->node, message->probe.sent_stamp, rx->now_ns))
		return finish(REASON_rx_stale_answer, TC_ACT_SHOT);
	if (!window_accept(&live->answered_highest, &live->answered_mask,
			   bpf_ntohl(message->header.sequence)))
		return finish(REASON_rx_stale_answer, TC_ACT_SHOT);
	record_answer(live, &message->probe, bpf_ntohl(message->header.sequence), rtt_ns);
	live->checked++;
	live->last_in_ns = rx->now_ns;
	live->answer_stamp = message->probe.answer_stamp;
	live->answer_at_ns = rx->now_ns;
	live->peer_marks = bpf_ntohl(message->probe.marks);
	prove(bond_live, live, index, 0, rx->now_ns);
	return finish(REASON_rx_answer_taken, TC_ACT_SHOT);
}

/* Probe or answer of a known session: checked, then dealt with. */
static __always_inline int receive_probe(struct __sk_buff *skb, struct received *rx)
{
	struct mpb_bond *bond = bond_get(rx->session->bond);
	struct mac_message message = {};
	__u32 index = MPB_NO_PATH;
	struct mpb_far *far;
	__u32 number;
	int how;

	if (!bond || bpf_skb_load_bytes(skb, rx->message_offset, &message, sizeof(message)))
		return finish(REASON_rx_truncated, TC_ACT_SHOT);
	if (message.probe.mac != message_mac(rx->session->rx_mac_key, &message)) {
		note_damage(rx->session, &message.header, skb->len - rx->message_offset);
		return finish(REASON_rx_bad_mac, TC_ACT_SHOT);
	}
	/* The peer has the session too: the controller may send under it from now on. */
	if (!rx->session->heard)
		rx->session->heard = 1;
	if ((message.header.version_type & 0xf) == WIRE_ANSWER)
		return take_answer(rx, bond, &message);
	if (is_surplus(rx->session, &message.header))
		return finish(refuse_surplus(rx->session), TC_ACT_SHOT);
	number = wire_path_number(&message.header);
	far = far_get(bond, number);
	how = far ? judge(rx->node, rx->session, far, &message, rx->now_ns) : PROBE_FRESH;
	if (how == PROBE_REPLAYED)
		return finish(REASON_rx_replayed, TC_ACT_SHOT);
	if (how != PROBE_STALE) {
		/* A path's first connection alone tells where the peer is: the ports of the
		 * others are not known, and may be a NAT's. */
		if (message.header.connection)
			index = number < MPB_MAX_BOND_PATHS ? rx->session->local_path[number] : MPB_NO_PATH;
		else
			index = follow(skb, rx, far, number, how == PROBE_NEWEST);
		note_probe(rx, bond, &message, index);
	}
	if (!bond->tx_session[bond->tx_live & 1])
		return finish(REASON_rx_unanswerable, TC_ACT_SHOT);
	return answer(skb, rx, bond, &message, index);
}

#endif
