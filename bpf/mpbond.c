// SPDX-License-Identifier: MIT
/* The programs: each a table of contents of the stages in the headers.
 *
 * tx        mp0's own egress (the fast way) and mp0's far end (what the device
 *           has queued, shaped or cut)
 * probe     mp0's far end, before tx; and the controller's test run
 * rx_tc     tc ingress of links with Ethernet headers
 * rx_l3     tc ingress of links without (tun, ppp, wwan)
 * rx_xdp    native XDP of links whose driver has it
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/if_packet.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/udp.h>

#include "redundant.h"
#include "rx.h"

#define TX_HEADERS (MPB_ETH_HLEN + (int)sizeof(struct ipv6hdr) + 8)

static __always_inline void pull_headers(struct __sk_buff *skb, __u32 need)
{
	if ((long)skb->data + need > (long)skb->data_end)
		bpf_skb_pull_data(skb, skb->len < need ? skb->len : need);
}

/* GO_ON with `in` filled, or the reason why not. */
static __always_inline int tx_parse(struct __sk_buff *skb, struct mpb_node *node, struct inner *in)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	int whole;

	if ((void *)(eth + 1) > data_end)
		return REASON_tx_malformed;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		whole = flow_v4(eth + 1, data_end, node->hash_seed, in);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		whole = flow_v6(eth + 1, data_end, node->hash_seed, in);
	else
		return REASON_tx_not_ip;
	return whole ? GO_ON : REASON_tx_malformed;
}

/* A bond that needs mp0's queue gets its packets at the far end. So does what is to be
 * sent twice, and what would outgrow IP's 64 KiB with the outer header: the device
 * cuts it. */
static __always_inline int wants_device(struct __sk_buff *skb, struct mpb_node *node, struct bond_view *view)
{
	if (skb->ifindex != node->mp0_ifindex)
		return 0;
	return view->twice || (view->bond->flags & MPB_BOND_DEVICE) ||
	       skb->len + WIRE_OVERHEAD_V6 > MAX_IP_LEN || queues_all(node, view);
}

static __always_inline __u32 choose(struct __sk_buff *skb, struct mpb_node *node, struct bond_view *view,
				    struct inner *in, struct copy *copy)
{
	if (comes_as_copy(skb, node))
		return path_of_copy(skb, view, copy);
	if (view->bond->policy == MPB_POLICY_BROADCAST)
		return send_copies(skb, node, view, copy);
	if (view->twice && !skb->gso_size)
		return send_twice(skb, node, view, copy);
	return select_path(view, in, segments(skb));
}

int tx(struct __sk_buff *skb)
{
	struct mpb_node *node = node_get();
	struct mpb_prefix *prefix;
	struct bond_view view = { .slot = MPB_NO_SLOT };
	struct inner in = {};
	struct copy copy = {};
	struct mpb_path *path;
	__u32 packets, index, inner_len, connection;
	int reason;

	if (!node || node->abi_version != MPB_ABI_VERSION)
		return finish(REASON_tx_unconfigured, TC_ACT_SHOT);
	pull_headers(skb, TX_HEADERS);
	reason = tx_parse(skb, node, &in);
	if (reason != GO_ON)
		return finish(reason, TC_ACT_SHOT);
	prefix = prefix_get(&in.dest);
	if (!prefix)
		return finish(REASON_tx_no_peer, TC_ACT_SHOT);
	view.index = prefix->bond;
	view.bond = bond_get(view.index);
	view.live = bond_live_get(view.index);
	if (!view.bond || !view.live)
		return finish(REASON_tx_no_peer, TC_ACT_SHOT);
	view.twice = is_redundant(skb, &view, &in);
	if (wants_device(skb, node, &view))
		return to_device(skb, node, view.index);
	index = choose(skb, node, &view, &in, &copy);
	path = path_get(index);
	if (!path)
		return finish(REASON_tx_no_path, TC_ACT_SHOT);
	if (queues(skb, node, view.index, path))
		return to_device(skb, node, view.index);
	packets = segments(skb);
	inner_len = skb->len - MPB_ETH_HLEN;
	if (inner_len + overhead(path) > MAX_IP_LEN)
		return finish(REASON_tx_too_big, TC_ACT_SHOT);
	if (make_room(skb, path)) {
		/* Inside a tunnel already: the device cuts it first. */
		if (skb->ifindex == node->mp0_ifindex)
			return to_device(skb, node, view.index);
		if (!make_plain_room(skb, path, in.dest.family))
			return finish(REASON_tx_encap_failed, TC_ACT_SHOT);
	}
	connection = data_connection(&view, path, index, in.hash);
	if (!write_outer(skb, path, inner_len, in.tos) || !write_connection(skb, node, path, connection) ||
	    !write_copy(skb, path, &copy))
		return finish(REASON_tx_encap_failed, TC_ACT_SHOT);
	count_tx(index, packets, inner_len);
	count_slot(view.index, view.slot, inner_len);
	return finish(REASON_tx_sent, send_on(path));
}

int probe(struct __sk_buff *skb)
{
	struct mpb_node *node = node_get();

	if (!node || node->abi_version != MPB_ABI_VERSION)
		return TC_ACT_UNSPEC;
	if (!skb->ingress_ifindex) {
		tick(skb, node);
		return TC_ACT_OK;
	}
	if ((skb->mark & TICK_MARK_MASK) != TICK_MARK)
		return TC_ACT_UNSPEC;
	return send_probe(skb, node, skb->mark & ~TICK_MARK_MASK);
}

/* To mp0: from its far end where packets came in one by one, as mp0 then joins them
 * (GRO); else straight, as they came whole. */
static __always_inline int deliver(struct mpb_node *node, __u32 index)
{
	struct mpb_path *path = path_get(index);

	if (path && (path->flags & MPB_PATH_GRO))
		return bpf_redirect(node->far_ifindex, 0);
	return bpf_redirect(node->mp0_ifindex, BPF_F_INGRESS);
}

static __always_inline int rx_data(struct __sk_buff *skb, struct mpb_node *node, struct mpb_session *session,
				   struct outer *outer)
{
	struct admitted in = { .outer = *outer };
	__u32 packets = segments(skb);
	__u32 inner_len = skb->len - outer->ip_offset - outer->header_len;
	int reason = admit((void *)(long)skb->data, (void *)(long)skb->data_end, inner_len, session, &in);

	if (reason == GO_ON)
		reason = take_data(session, node, &in, packets, inner_len);
	if (reason != GO_ON)
		return tc_end(reason);
	if (!strip(skb, &in.outer, in.inner_proto))
		return tc_end(REASON_rx_decap_failed);
	/* A link without Ethernet headers: make room for one. */
	if (!outer->ip_offset && bpf_skb_change_head(skb, MPB_ETH_HLEN, 0))
		return tc_end(REASON_rx_decap_failed);
	if ((void *)(long)skb->data + MPB_ETH_HLEN > (void *)(long)skb->data_end)
		return tc_end(REASON_rx_decap_failed);
	write_ethernet((void *)(long)skb->data, node, in.inner_proto);
	return finish(REASON_rx_delivered, deliver(node, in.path));
}

static __always_inline int rx(struct __sk_buff *skb, __u32 l2_len)
{
	struct mpb_node *node = node_get();
	struct received got = {};
	struct wire_header *header;
	int reason;

	if (!node || node->abi_version != MPB_ABI_VERSION)
		return tc_end(REASON_rx_unconfigured);
	/* The stack has taken the tag off already; the VLAN device gets it next. */
	if (skb->vlan_present)
		return tc_end(REASON_rx_not_ours);
	pull_headers(skb, RX_HEADERS);
	reason = classify((void *)(long)skb->data, (void *)(long)skb->data_end, l2_len, skb->protocol, node,
			  &got.outer, &got.session);
	if (reason == REASON_rx_handshake)
		return tc_end(hand_up(skb, node, &got.outer, 0));
	header = bond_header((void *)(long)skb->data, (void *)(long)skb->data_end, &got.outer);
	if (reason == GO_ON && (!header || !got.session))
		reason = REASON_rx_truncated;
	if (reason != GO_ON) {
		if (header && got.session && reason != REASON_rx_surplus_connection)
			note_damage(got.session, header,
				    skb->len - ((void *)header - (void *)(long)skb->data));
		return tc_end(reason);
	}
	if ((header->version_type & 0xf) == WIRE_DATA)
		return rx_data(skb, node, got.session, &got.outer);
	if ((header->version_type & 0xf) == WIRE_CONTROL)
		return tc_end(hand_up(skb, node, &got.outer, got.session));
	got.node = node;
	got.now_ns = bpf_ktime_get_ns();
	got.message_offset = got.outer.ip_offset + got.outer.header_len - sizeof(struct wire_header);
	return receive_probe(skb, &got);
}

int rx_tc(struct __sk_buff *skb)
{
	return rx(skb, MPB_ETH_HLEN);
}

int rx_l3(struct __sk_buff *skb)
{
	return rx(skb, 0);
}

/* Data only: probes and answers go on to rx_tc, which every link has, so that
 * there is one place where a path's life is decided. */
int rx_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct mpb_node *node = node_get();
	struct mpb_session *session = 0;
	struct wire_header *header;
	struct ethhdr *eth = data;
	struct admitted in = {};
	__u32 inner_len;
	int reason;

	if (!node || node->abi_version != MPB_ABI_VERSION)
		return xdp_end(REASON_rx_unconfigured);
	if ((void *)(eth + 1) > data_end)
		return xdp_end(REASON_rx_not_ours);
	reason = classify(data, data_end, MPB_ETH_HLEN, eth->h_proto, node, &in.outer, &session);
	if (reason != GO_ON)
		return xdp_end(reason);
	header = bond_header(data, data_end, &in.outer);
	if (!header || !session)
		return xdp_end(REASON_rx_truncated);
	if ((header->version_type & 0xf) != WIRE_DATA)
		return xdp_end(REASON_rx_to_tc);
	inner_len = data_end - data - MPB_ETH_HLEN - in.outer.header_len;
	reason = admit(data, data_end, inner_len, session, &in);
	if (reason == GO_ON)
		reason = take_data(session, node, &in, 1, inner_len);
	if (reason != GO_ON)
		return xdp_end(reason);
	if (bpf_xdp_adjust_head(ctx, in.outer.header_len))
		return xdp_end(REASON_rx_decap_failed);
	data = (void *)(long)ctx->data;
	if (data + MPB_ETH_HLEN > (void *)(long)ctx->data_end)
		return xdp_end(REASON_rx_decap_failed);
	write_ethernet(data, node, in.inner_proto);
	return finish(REASON_rx_delivered, bpf_redirect(node->far_ifindex, 0));
}
