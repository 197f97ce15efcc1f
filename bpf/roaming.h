/* Which path of ours a checked probe belongs to, and where its peer is now.
 *
 * A peer's address is learnt from its probes alone: what was never seen before and is
 * newer than all that came, by its sequence number within a session. Such a probe moves
 * the path that the peer's number belongs to; tx sends its next packet there. Under a
 * shared key sessions do not change when the peer starts anew, so there a probe must also
 * acknowledge an answer of ours as new as any before: what was recorded does not.
 */
#ifndef MPBOND_ROAMING_H
#define MPBOND_ROAMING_H

#include "endpoint.h"
#include "liveness.h"

enum freshness {
	PROBE_REPLAYED, /* seen before */
	PROBE_STALE,	/* of an older session, or not to be told from a replay */
	PROBE_FRESH,	/* counts */
	PROBE_NEWEST,	/* and tells where the peer is */
};

/* A packet of a known session on its way through rx. */
struct received {
	struct mpb_node *node;
	struct mpb_session *session;
	struct outer outer;
	__u32 message_offset; /* of the bond header */
	__u64 now_ns;
};

/* Where a probe came in, and where from. */
struct arrival {
	__u32 ifindex;
	__u32 family;
	__u64 local[2];
	struct place from;
};

static __always_inline int read_arrival(struct __sk_buff *skb, struct outer *outer, struct arrival *at)
{
	__u32 source = outer->ip_offset;
	__u32 len;

	at->ifindex = skb->ifindex;
	at->family = outer->family;
	at->from.port = outer->source_port;
	if (outer->family == AF_INET) {
		source += offsetof(struct iphdr, saddr);
		len = 4;
	} else {
		source += offsetof(struct ipv6hdr, saddr);
		len = 16;
	}
	/* In both headers the destination, our address, follows the source. */
	return !bpf_skb_load_bytes(skb, source, at->from.address, len) &&
	       !bpf_skb_load_bytes(skb, source + len, at->local, len);
}

/* What the probe is to the ones before it. */
static __always_inline int judge(struct mpb_node *node, struct mpb_session *session, struct mpb_far *far,
				 struct mac_message *message, __u64 now_ns)
{
	__u32 sequence = bpf_ntohl(message->header.sequence);
	__u64 acked = message->probe.answer_stamp;
	int is_newest, acks, acks_newer;

	if (session->made_ns < far->made_ns)
		return PROBE_STALE;
	if (session->made_ns > far->made_ns) {
		far->made_ns = session->made_ns;
		far->seen = 0;
		far->acked_stamp = 0;
	}
	acks = acked && stamp_recent(node, acked, now_ns);
	acks_newer = acks && (!far->acked_stamp || (__s64)(acked - far->acked_stamp) > 0);
	is_newest = !far->seen || (__s32)(sequence - far->newest) > 0;
	if (!window_accept(&far->newest, &far->seen, sequence)) {
		if (session->made_ns)
			return PROBE_REPLAYED;
		if (!acks_newer)
			return PROBE_STALE;
		/* The peer has begun anew, and counts from 1 again. */
		far->newest = sequence;
		far->seen = 1;
		is_newest = 1;
	}
	if (!is_newest)
		return PROBE_FRESH;
	if (!session->made_ns && !acks_newer && !(acks && acked == far->acked_stamp))
		return PROBE_FRESH;
	if (acks_newer)
		far->acked_stamp = acked;
	return PROBE_NEWEST;
}

/* Is this a path of the bond on the link and from the address that the probe came to? */
static __always_inline struct mpb_path *path_here(struct received *rx, struct arrival *at, __u32 index)
{
	struct mpb_path *path = path_get(index);
	__u64 local[2];

	if (!path || !(path->flags & MPB_PATH_USED) || path->bond != rx->session->bond)
		return 0;
	if (path->ifindex != at->ifindex)
		return 0;
	if ((at->family == AF_INET6) != ((path->flags & MPB_PATH_IPV6) != 0))
		return 0;
	local_of_header(path, local);
	return same_address(local, at->local) ? path : 0;
}

/* By the configured address, or the one that it was learnt at first. */
static __always_inline __u32 path_of_remote(struct received *rx, struct arrival *at)
{
	struct mpb_remote_key key = {};
	struct mpb_remote *remote;

	key.bond = rx->session->bond;
	key.ifindex = at->ifindex;
	key.family = at->family;
	key.port = at->from.port;
	__builtin_memcpy(key.address, at->from.address, sizeof(key.address));
	__builtin_memcpy(key.local, at->local, sizeof(key.local));
	remote = remote_get(&key);
	return remote ? remote->path : MPB_NO_PATH;
}

/* The sum of the header's words with another destination address in it. */
static __always_inline __u32 checksum_to(struct mpb_path *path, struct place *to)
{
	__u16 before[2], after[2];

	__builtin_memcpy(before, path->header + HEADER_REMOTE_V4, sizeof(before));
	__builtin_memcpy(after, to->address, sizeof(after));
	return path->checksum - before[0] - before[1] + after[0] + after[1];
}

/* From the next packet on. The place that is not in use is written whole first. */
static __always_inline void move(struct mpb_path *path, struct mpb_path_live *live, struct place *to,
				 __u64 now_ns)
{
	__u32 slot = path->moved == 1;
	struct mpb_endpoint *endpoint = &live->moved[slot & 1];
	struct place home;

	live->moves++;
	live->moved_at_ns = now_ns;
	remote_of_header(path, &home);
	if (same_place(&home, to)) {
		path->moved = 0;
		return;
	}
	__builtin_memcpy(endpoint->address, to->address, sizeof(endpoint->address));
	endpoint->port = to->port;
	endpoint->next_hop_family = 0;
	endpoint->checksum = checksum_to(path, to);
	asm volatile("" ::: "memory"); /* whole before it counts */
	path->moved = slot + 1;
}

/* For the controller: it may make a path of it. */
static __always_inline void note_arrival(struct mpb_far *far, struct arrival *at, __u64 now_ns)
{
	far->ifindex = at->ifindex;
	far->family = at->family;
	far->port = at->from.port;
	__builtin_memcpy(far->remote, at->from.address, sizeof(far->remote));
	__builtin_memcpy(far->local, at->local, sizeof(far->local));
	far->at_ns = now_ns;
}

/* A number that was found to be small enough. Said to the verifier, which does not see
 * it where the compiler has kept another copy: hence hidden from that. */
static __always_inline __u32 in_bounds(__u32 number)
{
	asm volatile("" : "+r"(number));
	return number & (MPB_MAX_BOND_PATHS - 1);
}

/* The path that the peer's number has been ours of, where it came in on that one's link;
 * else the one whose address it came from. */
static __always_inline __u32 path_of_number(struct received *rx, struct arrival *at, __u32 number)
{
	__u32 index = rx->session->local_path[in_bounds(number)];
	struct mpb_path_live *live;

	if (index == MPB_NO_PATH || !path_here(rx, at, index))
		return path_of_remote(rx, at);
	live = path_live_get(index);
	/* Another of the peer's paths has it now. */
	if (!live || live->peer_path != number + 1)
		return path_of_remote(rx, at);
	return index;
}

/* The path of a probe that counts, moved if it says so; MPB_NO_PATH: of none of ours. */
static __always_inline __u32 follow(struct __sk_buff *skb, struct received *rx, struct mpb_far *far,
				    __u32 number, int is_newest)
{
	struct arrival at = {};
	struct mpb_path_live *live;
	struct mpb_path *path;
	struct place now;
	__u32 index;

	if (number >= MPB_MAX_BOND_PATHS || !read_arrival(skb, &rx->outer, &at))
		return MPB_NO_PATH;
	index = path_of_number(rx, &at, number);
	path = index == MPB_NO_PATH ? 0 : path_here(rx, &at, index);
	live = path ? path_live_get(index) : 0;
	if (!path || !live) {
		if (far && is_newest)
			note_arrival(far, &at, rx->now_ns);
		return MPB_NO_PATH;
	}
	rx->session->local_path[in_bounds(number)] = index;
	live->peer_path = number + 1;
	remote_of_path(path, &now);
	if (is_newest && !same_place(&now, &at.from))
		move(path, live, &at.from, rx->now_ns);
	return index;
}

#endif
