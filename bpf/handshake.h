/* Handshake messages and control frames: recognised, limited, given to the controller
 * as they came.
 *
 * They go through a ring, not through a socket: so they pass whatever rp_filter and
 * the firewall would do on the way, as data does, and where no controller lives
 * nothing answers.
 */
#ifndef MPBOND_HANDSHAKE_H
#define MPBOND_HANDSHAKE_H

#include "probe.h"

#define HANDSHAKE_PERIOD_NS (1000000000ULL / MPB_HANDSHAKE_HZ)
#define CONTROL_PERIOD_NS (1000000000ULL / MPB_CONTROL_HZ)

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

/* Is one more in time? `next`: when it would be, were none saved up. */
static __always_inline int take_turn(__u64 *next, __u64 period_ns, __u64 burst)
{
	__u64 now_ns = bpf_ktime_get_ns();

	if (*next > now_ns + burst * period_ns)
		return 0;
	*next = (*next > now_ns ? *next : now_ns) + period_ns;
	return 1;
}

/* One bucket per hash of the remote address: an address that floods fills its own. */
static __always_inline int in_time(struct mpb_node *node, struct ends *ends)
{
	const __u64 key[2] = { node->hash_seed, node->stamp_offset };
	__u64 *next = handshake_next_get(siphash_words(key, ends->remote, 2) % MPB_HANDSHAKE_BUCKETS);

	return next && take_turn(next, HANDSHAKE_PERIOD_NS, MPB_HANDSHAKE_BURST);
}

/* Without a key of the controller's nothing under this session can be a control frame. */
static __always_inline int is_control(struct mpb_session *session, __u64 len)
{
	return session->made_ns && len >= WIRE_CONTROL_MIN;
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
 * is in time takes room, as what is given back does so until it is read over. `session`:
 * of a control frame; 0 of a handshake message. */
static __always_inline int hand_up(struct __sk_buff *skb, struct mpb_node *node, struct outer *outer,
				   struct mpb_session *session)
{
	const int limited = session ? REASON_rx_control_limited : REASON_rx_handshake_limited;
	__u32 offset = outer->ip_offset + outer->header_len - sizeof(struct wire_header);
	struct mpb_handshake *message;
	struct ends ends = {};
	__u64 len = skb->len;

	/* The verifier wants the sum checked, not the difference. */
	if (len < offset + sizeof(struct wire_header) || len > offset + MPB_HANDSHAKE_MAX)
		return REASON_rx_bad_type;
	len -= offset;
	if (session && !is_control(session, len))
		return REASON_rx_bad_type;
	if (!read_ends(skb, outer, &ends))
		return REASON_rx_truncated;
	if (session ? !take_turn(&session->control_next_ns, CONTROL_PERIOD_NS, MPB_CONTROL_BURST)
		    : !in_time(node, &ends))
		return limited;
	message = handshakes.ringbuf_reserve(sizeof(*message));
	if (!message)
		return limited;
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
	return session ? REASON_rx_control : REASON_rx_handshake;
}

#endif
