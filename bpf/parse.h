/* Parsers: bounds checked inside, nothing decided.
 *
 * Multi-byte results are in wire order where the type says `__be`, else in the
 * CPU's order. Offsets count from the start of the packet data.
 */
#ifndef MPBOND_PARSE_H
#define MPBOND_PARSE_H

#include "wire.h"

#define AF_INET 2
#define AF_INET6 10
#define MPB_ETH_HLEN 14
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
/* IPv6 extension headers looked at before a packet counts as one without
 * ports; RFC 8200 has a sender use each once, six kinds in all. */
#define MAX_EXTENSION_HEADERS 6

struct ports {
	__be16 source;
	__be16 dest;
};

/* The outer packet, from Ethernet or IP to the bond header. */
struct outer {
	__u32 family;
	__u32 ip_offset;
	__u32 header_len; /* IP + UDP + bond header: what strip takes off */
	__u32 fragment;	  /* a first fragment: nothing behind UDP is trusted */
	__u8 tos;
	__be16 source_port;
	__be16 dest_port;
};

/* Returns 1 where the packet is UDP without IP options, else 0. */
static __always_inline int parse_outer_v4(void *data, void *data_end, __u32 l2_len, struct outer *out)
{
	struct iphdr *ip = data + l2_len;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > data_end)
		return 0;
	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return 0;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return 0;
	out->family = AF_INET;
	out->ip_offset = l2_len;
	out->header_len = WIRE_OVERHEAD_V4;
	out->fragment = (ip->frag_off & bpf_htons(IP_MF)) != 0;
	out->tos = ip->tos;
	out->source_port = udp->source;
	out->dest_port = udp->dest;
	return 1;
}

static __always_inline int parse_outer_v6(void *data, void *data_end, __u32 l2_len, struct outer *out)
{
	struct ipv6hdr *ip = data + l2_len;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > data_end)
		return 0;
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return 0;
	out->family = AF_INET6;
	out->ip_offset = l2_len;
	out->header_len = WIRE_OVERHEAD_V6;
	out->fragment = 0;
	out->tos = (ip->priority << 4) | (ip->flow_lbl[0] >> 4);
	out->source_port = udp->source;
	out->dest_port = udp->dest;
	return 1;
}

static __always_inline int parse_outer(void *data, void *data_end, __u32 l2_len, __be16 eth_proto,
				       struct outer *out)
{
	if (eth_proto == bpf_htons(ETH_P_IP))
		return parse_outer_v4(data, data_end, l2_len, out);
	if (eth_proto == bpf_htons(ETH_P_IPV6))
		return parse_outer_v6(data, data_end, l2_len, out);
	return 0;
}

/* What rx needs to know of the inner packet. */
struct inner_source {
	struct mpb_prefix_key key; /* of full length */
	__u32 len;		   /* as its IP header has it */
	__be16 proto;		   /* ethertype */
};

/* Returns 0 where the inner IP header is not whole. */
static __always_inline int parse_inner_source(void *ip, void *data_end, struct inner_source *in)
{
	struct iphdr *v4 = ip;
	struct ipv6hdr *v6 = ip;

	if ((void *)(v4 + 1) > data_end)
		return 0;
	if (v4->version == 4) {
		in->len = bpf_ntohs(v4->tot_len);
		if (v4->ihl < 5 || in->len < v4->ihl * 4)
			return 0;
		in->key.family = AF_INET;
		in->key.prefix_len = 32 + 32;
		__builtin_memcpy(in->key.address, &v4->saddr, 4);
		in->proto = bpf_htons(ETH_P_IP);
		return 1;
	}
	if (v4->version != 6 || (void *)(v6 + 1) > data_end)
		return 0;
	in->len = sizeof(*v6) + bpf_ntohs(v6->payload_len);
	in->key.family = AF_INET6;
	in->key.prefix_len = 32 + 128;
	__builtin_memcpy(in->key.address, &v6->saddr, 16);
	in->proto = bpf_htons(ETH_P_IPV6);
	return 1;
}

#endif
