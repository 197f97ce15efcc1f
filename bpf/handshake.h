/* Handshake messages: recognised, limited, given to the controller as they came.
 *
 * They go through a ring, not through a socket: so they pass whatever rp_filter and
 * the firewall would do on the way, as data does, and where no controller lives
 * nothing answers.
 */
#ifndef MPBOND_HANDSHAKE_H
#define MPBOND_HANDSHAKE_H

#include "probe.h"

#define HANDSHAKE_PERIOD_NS (1000000000ULL / MPB_HANDSHAKE_HZ)

/* Says the message the tag of our public key? Who does not know that key is nobody. */
static __always_inline int is_handshake(struct mpb_node *node, struct wire_header *header)
{
	return node->handshake_tag && header->session == node->handshake_tag &&
	       header->version_type == wire_version_type(WIRE_HANDSHAKE) && !header->flags;
}

/* Both addresses, as in struct mpb_handshake. */
struct ends {
	__u64 remote[2];
	__u64 local[2];
};

/* One bucket per hash of the remote address: an address that floods fills its own. */
static __always_inline int in_time(struct mpb_node *node, struct ends *ends)
{
	const __u64 key[2] = { node->hash_seed, node->stamp_offset };
	__u64 *next = handshake_next_get(siphash_words(key, ends->remote, 2) % MPB_HANDSHAKE_BUCKETS);
	__u64 now_ns = bpf_ktime_get_ns();

	if (!next || *next > now_ns + MPB_HANDSHAKE_BURST * HANDSHAKE_PERIOD_NS)
		return 0;
	*next = (*next > now_ns ? *next : now_ns) + HANDSHAKE_PERIOD_NS;
	return 1;
}

static __always_inline int read_ends(struct __sk_buff *skb, struct outer *outer, struct ends *ends)
{
	__u32 source = outer->ip_offset;
	__u32 len;

	if (outer->family == AF_INET) {
		source += offsetof(struct iphdr, saddr);
		len = 4;
	} else {
		source += offsetof(struct ipv6hdr, saddr);
		len = 16;
	}
	/* In both headers the destination follows the source. */
	return !bpf_skb_load_bytes(skb, source, ends->remote, len) &&
	       !bpf_skb_load_bytes(skb, source + len, ends->local, len);
}

/* Into the ring, if it is in time and there is room. The reason to end with. Only what
 * is in time takes room, as what is given back does so until it is read over. */
static __always_inline int hand_up(struct __sk_buff *skb, struct mpb_node *node, struct outer *outer)
{
	__u32 offset = outer->ip_offset + outer->header_len - sizeof(struct wire_header);
	struct mpb_handshake *message;
	struct ends ends = {};
	__u64 len = skb->len;

	/* The verifier wants the sum checked, not the difference. */
	if (len < offset + sizeof(struct wire_header) || len > offset + MPB_HANDSHAKE_MAX)
		return REASON_rx_bad_type;
	len -= offset;
	if (!read_ends(skb, outer, &ends))
		return REASON_rx_truncated;
	if (!in_time(node, &ends))
		return REASON_rx_handshake_limited;
	message = handshakes.ringbuf_reserve(sizeof(*message));
	if (!message)
		return REASON_rx_handshake_limited;
	if (bpf_skb_load_bytes(skb, offset, message->message, len)) {
		handshakes.ringbuf_discard(message, 0);
		return REASON_rx_truncated;
	}
	message->ifindex = skb->ifindex;
	message->family = outer->family;
	message->port = outer->source_port;
	message->len = len;
	message->pad = 0;
	__builtin_memcpy(message->remote, ends.remote, sizeof(ends.remote));
	__builtin_memcpy(message->local, ends.local, sizeof(ends.local));
	handshakes.ringbuf_submit(message, 0);
	return REASON_rx_handshake;
}

#endif
