/* Putting the outer header on and taking it off: the only callers of the helpers
 * that move a packet's head. Pointers are taken anew after each of them.
 *
 * Super-packets stay whole: FIXED_GSO keeps the inner segment size, the ENCAP
 * flags tell the stack where the inner headers are, should a link have to cut.
 */
#ifndef MPBOND_ENCAP_H
#define MPBOND_ENCAP_H

#include "endpoint.h"
#include "select.h"

#define MAX_IP_LEN 65535
/* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6: kernels from 6.3 on, newer than the
 * oldest headers that this is compiled with. */
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

/* bcc declares this helper with too few arguments. */
static long (*redirect_neigh)(__u32, struct bpf_redir_neigh *, int, __u64) = (void *)BPF_FUNC_redirect_neigh;

struct outer_v4 {
	struct iphdr ip;
	struct udphdr udp;
	struct wire_header bond;
};

struct outer_v6 {
	struct ipv6hdr ip;
	struct udphdr udp;
	struct wire_header bond;
};

_Static_assert(sizeof(struct outer_v4) == WIRE_OVERHEAD_V4, "no padding between the headers");
_Static_assert(sizeof(struct outer_v6) == WIRE_OVERHEAD_V6, "no padding between the headers");

static __always_inline __u16 fold_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* Copies the path's ready-made header in 4-byte words: neither side is aligned
 * to more, as IP follows 14 bytes of Ethernet. */
static __always_inline void copy_header(void *to, const __u8 *from, int len)
{
	__u32 *out = to;
	const __u32 *in = (const void *)from;

#pragma unroll
	for (int i = 0; i < len / 4; i++)
		out[i] = in[i];
}

/* The kernel writes the next hop's address over the old Ethernet header's, but
 * first drops, uncounted, what that addresses to a group. */
static __always_inline void leave_group(struct ethhdr *eth)
{
	eth->h_dest[0] &= 0xfe;
}

static __always_inline int write_outer_v4(struct __sk_buff *skb, struct mpb_path *path,
					  struct mpb_endpoint *moved, __u64 session, __u32 inner_len,
					  __u8 tos)
{
	void *data = (void *)(long)skb->data;
	struct outer_v4 *out = data + MPB_ETH_HLEN;
	__be16 total = bpf_htons(inner_len + WIRE_OVERHEAD_V4);
	__u32 checksum = path->checksum;

	if ((void *)(out + 1) > (void *)(long)skb->data_end)
		return 0;
	leave_group(data);
	copy_header(out, path->header, sizeof(*out));
	out->bond.session = session;
	if (moved) {
		__builtin_memcpy(&out->ip.daddr, moved->address, sizeof(out->ip.daddr));
		out->udp.dest = moved->port;
		checksum = moved->checksum;
	}
	out->ip.tos = tos;
	out->ip.tot_len = total;
	out->ip.check = fold_checksum(checksum + total + bpf_htons(tos));
	out->udp.len = bpf_htons(inner_len + WIRE_OVERHEAD_V4 - sizeof(struct iphdr));
	return 1;
}

static __always_inline int write_outer_v6(struct __sk_buff *skb, struct mpb_path *path,
					  struct mpb_endpoint *moved, __u64 session, __u32 inner_len,
					  __u8 tos)
{
	void *data = (void *)(long)skb->data;
	struct outer_v6 *out = data + MPB_ETH_HLEN;
	__be16 payload = bpf_htons(inner_len + WIRE_OVERHEAD_V6 - sizeof(struct ipv6hdr));

	if ((void *)(out + 1) > (void *)(long)skb->data_end)
		return 0;
	leave_group(data);
	copy_header(out, path->header, sizeof(*out));
	out->bond.session = session;
	if (moved) {
		__builtin_memcpy(&out->ip.daddr, moved->address, sizeof(out->ip.daddr));
		out->udp.dest = moved->port;
	}
	out->ip.priority = tos >> 4;
	out->ip.flow_lbl[0] = tos << 4;
	out->ip.payload_len = payload;
	out->udp.len = payload;
	return 1;
}

/* Writes the path's header over the room made for it, with the session number in use.
 * Returns 0 if it does not fit. */
static __always_inline int write_outer(struct __sk_buff *skb, struct mpb_path *path, __u32 inner_len,
				       __u8 tos)
{
	struct mpb_bond *bond = bond_get(path->bond);
	struct mpb_endpoint *moved;
	__u64 session;

	if (!bond)
		return 0;
	session = bond->tx_session[bond->tx_live & 1];
	moved = moved_to(path);
	if (path->flags & MPB_PATH_IPV6)
		return write_outer_v6(skb, path, moved, session, inner_len, tos);
	return write_outer_v4(skb, path, moved, session, inner_len, tos);
}

static __always_inline __u32 overhead(struct mpb_path *path)
{
	return path->flags & MPB_PATH_IPV6 ? WIRE_OVERHEAD_V6 : WIRE_OVERHEAD_V4;
}

/* Room for the outer header between Ethernet and the inner packet. */
static __always_inline long make_room(struct __sk_buff *skb, struct mpb_path *path)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
		      BPF_F_ADJ_ROOM_ENCAP_L2(sizeof(struct wire_header));

	if (path->flags & MPB_PATH_IPV6)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	else
		flags |= BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	return bpf_skb_adjust_room(skb, overhead(path), BPF_ADJ_ROOM_MAC, flags);
}

/* The same for a packet that is inside a tunnel already, another one or a bond it
 * just came out of: the kernel keeps one set of inner headers per packet and
 * refuses a second. So nothing is said of inner headers; the device has cut the
 * packet before, and what is left to do is the outer protocol, which only
 * change_proto can set: it adds or drops 20 bytes on the way. Returns 0 where
 * the kernel refuses. */
static __always_inline int make_plain_room(struct __sk_buff *skb, struct mpb_path *path, __u32 inner_family)
{
	__u32 less = sizeof(struct ipv6hdr) - sizeof(struct iphdr);
	__u32 room = overhead(path);
	__u8 saved[20];

	if (skb->gso_size)
		return 0;
	if (path->flags & MPB_PATH_IPV6) {
		if (inner_family == AF_INET6)
			return !bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0);
		if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
			return 0;
		return !bpf_skb_adjust_room(skb, room - less, BPF_ADJ_ROOM_MAC, 0);
	}
	if (inner_family == AF_INET)
		return !bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0);
	if (bpf_skb_load_bytes(skb, MPB_ETH_HLEN, saved, sizeof(saved)))
		return 0;
	if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0))
		return 0;
	if (bpf_skb_adjust_room(skb, room + less, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	return !bpf_skb_store_bytes(skb, MPB_ETH_HLEN + room, saved, sizeof(saved), 0);
}

/* Out of the path's link to its next hop; the kernel resolves the neighbour. */
static __always_inline int send_on(struct mpb_path *path)
{
	struct mpb_endpoint *moved = moved_to(path);
	struct bpf_redir_neigh hop = {};

	/* Until the controller has looked the new address up, the kernel does. */
	if (moved && !moved->next_hop_family)
		return redirect_neigh(path->ifindex, 0, 0, 0);
	hop.nh_family = moved ? moved->next_hop_family : path->next_hop_family;
	__builtin_memcpy(hop.ipv6_nh, moved ? moved->next_hop : path->next_hop, sizeof(hop.ipv6_nh));
	return redirect_neigh(path->ifindex, &hop, sizeof(hop), 0);
}

/* Takes `outer->header_len` bytes off between Ethernet (or the packet's start)
 * and the inner packet. Returns 0 where the kernel refuses.
 *
 * The kernel keeps a minimum length by the *outer* family unless told the inner
 * one, with a flag that kernels before 6.3 do not know: there the packet gets a
 * tail first, which the stack cuts off again by the inner length. */
static __always_inline int strip(struct __sk_buff *skb, struct outer *outer, __be16 inner_proto)
{
	__s32 less = -(__s32)outer->header_len;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (outer->family == AF_INET && inner_proto == bpf_htons(ETH_P_IP))
		return !bpf_skb_adjust_room(skb, less, BPF_ADJ_ROOM_MAC, flags);
	if (outer->family == AF_INET6 && inner_proto == bpf_htons(ETH_P_IPV6))
		return !bpf_skb_adjust_room(skb, less, BPF_ADJ_ROOM_MAC, flags);
	flags |= inner_proto == bpf_htons(ETH_P_IP) ? DECAP_L3_IPV4 : DECAP_L3_IPV6;
	if (!bpf_skb_adjust_room(skb, less, BPF_ADJ_ROOM_MAC, flags))
		return 1;
	if (skb->gso_size == 0 && bpf_skb_change_tail(skb, skb->len + sizeof(struct ipv6hdr), 0))
		return 0;
	return !bpf_skb_adjust_room(skb, less, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

static __always_inline __u32 segments(struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

#endif
