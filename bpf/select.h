/* Which path a packet takes.
 *
 * A path is usable while the controller calls it eligible and its last proof of
 * life is not older than the bond's freshest one by failoverInterval: both read
 * per packet, so a cut is left at once, whatever the controller is doing.
 */
#ifndef MPBOND_SELECT_H
#define MPBOND_SELECT_H

#include "flowlets.h"

/* Random picks before the others are asked in order. */
#define SPREAD_TRIES 4
/* How many are asked in all. The controller re-sorts `order` within milliseconds
 * of a death and puts paths of different links first, so this bounds how many
 * paths may die in one moment; the verifier's time grows with its square. */
#define TAKE_OVER_TRIES 12
/* Odd, so that multiples of it visit every slot: flows that begin one after the
 * other take slots far apart. */
#define SLOT_STRIDE 157

struct bond_view {
	__u32 index;
	struct mpb_bond *bond;
	struct mpb_bond_live *live;
	__u32 flow_path; /* where the packet's flow is already, or MPB_NO_PATH */
	__u32 spread;	 /* flows are spread, not all on one path */
	__u32 twice;	 /* the packet goes over two links */
	__u32 slot;	 /* that the packet counts to, or MPB_NO_SLOT */
};

static __always_inline struct mpb_path *usable_path(struct bond_view *view, __u32 index)
{
	struct mpb_path *path = path_get(index);
	struct mpb_path_live *live = path_live_get(index);

	if (!path || !live || path->bond != view->index)
		return 0;
	if (!(path->flags & MPB_PATH_ELIGIBLE))
		return 0;
	/* Signed: a proof may be newer than the freshest one just read. */
	if ((__s64)(view->live->freshest_ns - live->proof_ns) > (__s64)view->bond->failover_ns)
		return 0;
	return path;
}

/* All paths dead: the one last alive, for downDelay more than it took to see it. */
static __always_inline __u32 last_resort(struct bond_view *view)
{
	struct mpb_bond_live *live = view->live;
	struct mpb_path *path = path_get(live->last_alive_path);
	__u64 silence_ns = live->clock_ns - live->freshest_ns;

	if (!path || !live->freshest_ns || path->bond != view->index)
		return MPB_NO_PATH;
	if (!(path->flags & MPB_PATH_LINK_UP))
		return MPB_NO_PATH;
	if (silence_ns > view->bond->failover_ns + view->bond->down_delay_ns)
		return MPB_NO_PATH;
	return live->last_alive_path;
}

/* The candidate at try `i`: for spread flows some of the non-spares at random,
 * so that a dead path's flows divide evenly, then everyone in order. */
static __always_inline __u32 candidate(struct bond_view *view, __u64 *hash, __u32 i)
{
	struct mpb_bond *bond = view->bond;

	if (!view->spread || !bond->preferred_count)
		return bond->order[i];
	if (i >= SPREAD_TRIES)
		return bond->order[i - SPREAD_TRIES];
	*hash = mix_final(*hash);
	return bond->order[(*hash % bond->preferred_count) % MPB_MAX_BOND_PATHS];
}

/* Who takes over from a path that is not usable. */
static __always_inline __u32 take_over(struct bond_view *view, __u64 hash)
{
	for (__u32 i = 0; i < TAKE_OVER_TRIES; i++) {
		__u32 path = candidate(view, &hash, i);

		if (usable_path(view, path))
			return path;
	}
	return last_resort(view);
}

static __always_inline __u32 path_of_slot(struct bond_view *view, __u32 slot)
{
	struct mpb_slots *slots = slots_get(view->index, view->bond->generation);

	return slots ? slots->path[slot % MPB_SLOTS] : MPB_NO_PATH;
}

static __always_inline int is_spare(struct mpb_path *path)
{
	return (path->flags & (MPB_PATH_SPARE | MPB_PATH_PEER_SPARE)) != 0;
}

static __always_inline void note_move(struct bond_view *view, __u32 from, __u32 to)
{
	if (from != MPB_NO_PATH && from != to)
		__sync_fetch_and_add(&view->live->moved_flows, 1);
}

/* balance-xor: a flow stays on its path while that is usable; off a spare it goes as
 * soon as something better is. Packets without a flow take a random slot. */
static __always_inline __u32 by_flow(struct bond_view *view, __u64 hash)
{
	struct mpb_path *path;

	if (view->flow_path != MPB_NO_PATH) {
		path = usable_path(view, view->flow_path);
		if (path && !is_spare(path))
			return view->flow_path;
	}
	return path_of_slot(view, hash);
}

/* balance-aware: a flow that begins takes the next slot in turn, so that flows divide
 * as the slots do, whatever their hashes are. */
static __always_inline __u32 next_slot(struct bond_view *view)
{
	return __sync_fetch_and_add(&view->live->turn, 1) * SLOT_STRIDE % MPB_SLOTS;
}

/* May a flow leave the usable path `from` for that of its slot now? A spare is left at
 * once, like a path that the controller wants left; others when nothing overtakes. */
static __always_inline int may_move(struct bond_view *view, struct flowlet *flow, struct mpb_path *from,
				    struct mpb_path *to)
{
	if (view->bond->flags & MPB_BOND_NO_FLOWLETS || from->flags & MPB_PATH_LEAVE)
		return 1;
	if (is_spare(from) && !is_spare(to))
		return 1;
	return silent_long_enough(flow, from, to);
}

/* balance-aware: a usable path for the flow, its own or its slot's; MPB_NO_PATH where
 * neither is, or where it could only stay on a spare. */
static __always_inline __u32 by_flowlet(struct bond_view *view, struct flowlet *flow)
{
	__u32 wanted = path_of_slot(view, flow->slot);
	struct mpb_path *from = 0, *to;

	if (flow->path != MPB_NO_PATH)
		from = usable_path(view, flow->path);
	if (from && wanted == flow->path)
		return wanted;
	to = usable_path(view, wanted);
	if (!to)
		return from && !is_spare(from) ? flow->path : MPB_NO_PATH;
	return !from || may_move(view, flow, from, to) ? wanted : flow->path;
}

/* balance-rr: packetsPerLink packets on a path, then the next. A super-packet counts
 * as what it will be cut into. `order` is by number there, not by quality. */
static __always_inline __u32 by_turn(struct bond_view *view, __u32 packets)
{
	struct mpb_bond *bond = view->bond;
	__u32 count = bond->preferred_count ? bond->preferred_count : bond->order_count;
	__u64 at = bpf_get_prandom_u32();

	if (!count)
		return MPB_NO_PATH;
	if (bond->packets_per_link)
		at = __sync_fetch_and_add(&view->live->turn, packets) / bond->packets_per_link;
	return bond->order[(at % count) % MPB_MAX_BOND_PATHS];
}

/* What active-backup really uses, for listings and for a controller to come. */
static __always_inline void note_active(struct bond_view *view, __u32 chosen)
{
	if (view->live->active_path != chosen)
		view->live->active_path = chosen;
}

static __always_inline __u64 random_hash(void)
{
	return ((__u64)bpf_get_prandom_u32() << 32) | bpf_get_prandom_u32();
}

/* balance-aware. */
static __always_inline __u32 select_for_flowlet(struct bond_view *view, struct inner *in)
{
	struct flowlet flow = { .path = MPB_NO_PATH, .first_path = view->bond->first_path };
	__u32 before, chosen;

	flow.hash = in->has_flow ? mix_word(in->hash, view->index) : random_hash();
	flow.slot = flow.hash % MPB_SLOTS;
	flow.now = ticks_now();
	if (in->has_flow) {
		flowlet_find(&flow);
		if (flow.path == MPB_NO_PATH)
			flow.slot = next_slot(view);
	}
	before = flow.path;
	view->slot = flow.slot;
	chosen = by_flowlet(view, &flow);
	if (chosen == MPB_NO_PATH)
		chosen = take_over(view, flow.hash);
	if (!in->has_flow || chosen == MPB_NO_PATH)
		return chosen;
	note_move(view, before, chosen);
	flow.path = chosen;
	flowlet_remember(&flow);
	return chosen;
}

/* balance-xor. */
static __always_inline __u32 select_for_flow(struct bond_view *view, struct inner *in)
{
	__u64 hash = in->has_flow ? mix_word(in->hash, view->index) : random_hash();
	__u32 seen = flow_now();
	__u32 chosen;

	view->flow_path = in->has_flow ? flow_find(&hash, seen) : MPB_NO_PATH;
	chosen = by_flow(view, hash);
	if (!usable_path(view, chosen))
		chosen = take_over(view, hash);
	if (!in->has_flow || chosen == MPB_NO_PATH)
		return chosen;
	note_move(view, view->flow_path, chosen);
	flow_remember(&hash, chosen, seen);
	return chosen;
}

/* `packets`: what the packet will be cut into. */
static __always_inline __u32 select_path(struct bond_view *view, struct inner *in, __u32 packets)
{
	__u32 chosen;

	view->spread = view->bond->policy != MPB_POLICY_ACTIVE_BACKUP;
	if (view->bond->policy == MPB_POLICY_BALANCE_AWARE)
		return select_for_flowlet(view, in);
	if (view->spread && view->bond->policy != MPB_POLICY_BALANCE_RR)
		return select_for_flow(view, in);
	chosen = view->spread ? by_turn(view, packets) : view->bond->order[0];
	if (!usable_path(view, chosen))
		chosen = take_over(view, random_hash());
	if (!view->spread && chosen != MPB_NO_PATH)
		note_active(view, chosen);
	return chosen;
}

#endif
