/* The flow of an inner packet: destination, and a 64-bit mix of its 5-tuple.
 *
 * ZeroTier's balance-xor takes ports and protocol alone, xor-ed, so that all
 * connections of a client to a server share a link; this mixes addresses too.
 * Knows no path.
 */
#ifndef MPBOND_FLOW_H
#define MPBOND_FLOW_H

#include "parse.h"

struct inner {
	struct mpb_prefix_key dest;
	__u64 hash;
	__u32 has_flow; /* 0: no ports, each packet goes its own way */
	__u32 has_ports;
	struct ports ports;
	__u8 proto; /* behind IPv6's extension headers; of a fragment, of its datagram */
	__u8 tos;
};

/* Multiply-xorshift over words, as in Stafford's "Mix13" finaliser. */
static __always_inline __u64 mix_word(__u64 hash, __u64 word)
{
	hash ^= word;
	hash *= 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

static __always_inline __u64 mix_final(__u64 hash)
{
	hash *= 0xbf58476d1ce4e5b9ULL;
	hash ^= hash >> 27;
	hash *= 0x94d049bb133111ebULL;
	return hash ^ (hash >> 31);
}

static __always_inline int proto_has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_UDPLITE || proto == IPPROTO_DCCP;
}

/* What tells a packet's flow apart besides addresses and protocol: the ports;
 * for a fragment the datagram's id, so that its pieces stay together; nothing
 * (0) for the rest. Returns 1 where there is something. */
static __always_inline int flow_detail(void *l4, void *data_end, struct inner *in, __u32 *detail)
{
	struct ports *ports = l4;

	if (!proto_has_ports(in->proto) || (void *)(ports + 1) > data_end)
		return 0;
	*detail = *(__u32 *)ports;
	in->ports = *ports;
	in->has_ports = 1;
	return 1;
}

/* Returns 0 where the header is cut short or lies about itself. */
static __always_inline int flow_v4(void *data, void *data_end, __u64 seed, struct inner *in)
{
	struct iphdr *ip = data;
	__u32 detail = 0;

	if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5)
		return 0;
	in->tos = ip->tos;
	in->proto = ip->protocol;
	in->dest.family = AF_INET;
	in->dest.prefix_len = 32 + 32;
	__builtin_memcpy(in->dest.address, &ip->daddr, 4);
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)) {
		detail = ip->id;
		in->has_flow = 1;
	} else {
		in->has_flow = flow_detail(data + ip->ihl * 4, data_end, in, &detail);
	}
	in->hash = mix_word(seed, ((__u64)ip->saddr << 32) | ip->daddr);
	in->hash = mix_final(mix_word(in->hash, ((__u64)detail << 32) | ip->protocol));
	return 1;
}

struct extension_header {
	__u8 next;
	__u8 len;
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Walks IPv6 extension headers to the ports or the fragment's id. `proto` is where it
 * stopped. */
static __always_inline int flow_detail_v6(void *l4, void *data_end, struct inner *in, __u8 *proto,
					  __u32 *detail)
{
#pragma unroll
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		struct extension_header *ext = l4;
		struct fragment_header *fragment = l4;

		if (*proto == IPPROTO_FRAGMENT) {
			if ((void *)(fragment + 1) > data_end)
				return 0;
			*detail = fragment->id;
			in->proto = fragment->next;
			return 1;
		}
		if (*proto != IPPROTO_HOPOPTS && *proto != IPPROTO_ROUTING && *proto != IPPROTO_DSTOPTS)
			break;
		if ((void *)(ext + 1) > data_end)
			return 0;
		*proto = ext->next;
		l4 += (ext->len + 1) * 8;
	}
	in->proto = *proto;
	return flow_detail(l4, data_end, in, detail);
}

static __always_inline int flow_v6(void *data, void *data_end, __u64 seed, struct inner *in)
{
	struct ipv6hdr *ip = data;
	__u64 *words = (void *)&ip->saddr;
	__u32 detail = 0;
	__u8 proto;

	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return 0;
	in->tos = (ip->priority << 4) | (ip->flow_lbl[0] >> 4);
	in->dest.family = AF_INET6;
	in->dest.prefix_len = 32 + 128;
	__builtin_memcpy(in->dest.address, &ip->daddr, 16);
	proto = ip->nexthdr;
	in->has_flow = flow_detail_v6(ip + 1, data_end, in, &proto, &detail);
	in->hash = mix_word(mix_word(seed, words[0]), words[1]);
	in->hash = mix_word(mix_word(in->hash, words[2]), words[3]);
	in->hash = mix_final(mix_word(in->hash, ((__u64)detail << 32) | proto));
	return 1;
}

#endif
